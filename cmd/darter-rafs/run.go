package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"github.com/containerd/log"

	"github.com/darter-p2p/darter/internal/health"
	"github.com/darter-p2p/darter/internal/metrics"
	"github.com/darter-p2p/darter/internal/notify"
	"github.com/darter-p2p/darter/internal/process"
	"github.com/darter-p2p/darter/internal/serve"
	"github.com/darter-p2p/darter/internal/version"
	"github.com/darter-p2p/darter/plugin/rafs/server"
)

// run mounts until ctx ends.
func run(ctx context.Context, _ io.Writer, cfg Config) (err error) {
	if err := log.SetLevel(cfg.Log); err != nil {
		return fmt.Errorf("log_level: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// The socket first: it is the lock that keeps a second server from the mounts.
	socket, err := serve.Unix(cfg.Rafs.Socket, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = socket.Close() }() // already, where it was served
	registry := metrics.New("darter-rafs", version.Number())
	mounts, err := server.Open(ctx, cfg.Rafs, server.Options{
		Version: version.Number(), Keeper: []string{self, keep, cfg.Rafs.Keep.String()}, Metrics: registry,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mounts.Close()) }()
	var (
		state   health.Health
		manager = notify.FromEnvironment(os.Getenv)
		parts   = process.Group{Stopping: func() {
			state.Stopping()
			report(ctx, manager.Stopping())
		}}
	)
	if cfg.Metrics != "" {
		l, err := net.Listen("tcp", cfg.Metrics)
		if err != nil {
			return fmt.Errorf("listen for metrics: %w", err)
		}
		mux := http.NewServeMux()
		mux.Handle("/", &state)
		mux.Handle("/metrics", metrics.Handler(registry))
		parts.Add("metrics", func(ctx context.Context) error { return serve.HTTP(ctx, l, mux, 0) })
	}
	parts.Add("mounts", mounts.Run)
	parts.Add("requests", func(ctx context.Context) error { return serve.HTTP(ctx, socket, mounts.Handler(), 0) })
	parts.Add("watchdog", func(ctx context.Context) error {
		return manager.Watch(ctx, func(context.Context) error {
			mounts.List() // hangs if the server does
			return nil
		})
	})
	state.Ready()
	report(ctx, manager.Ready())
	log.G(ctx).WithFields(log.Fields{"socket": cfg.Rafs.Socket, "version": version.Number()}).Info("darter-rafs serves")
	return parts.Run(ctx)
}

// report logs what the service manager could not be told; it is no reason to stop.
func report(ctx context.Context, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		log.G(ctx).WithError(err).Warn("cannot tell the service manager")
	}
}
