package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/log"

	"github.com/darter-p2p/darter/cmd/internal/program"
	"github.com/darter-p2p/darter/internal/metrics"
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
	service := program.NewService(ctx)
	if err := service.AddMetrics(cfg.Metrics, registry); err != nil {
		return err
	}
	service.Add("mounts", mounts.Run)
	service.Add("requests", func(ctx context.Context) error { return serve.HTTP(ctx, socket, mounts.Handler(), 0) })
	log.G(ctx).WithFields(log.Fields{"socket": cfg.Rafs.Socket, "version": version.Number()}).Info("darter-rafs serves")
	return service.Run(ctx, func(context.Context) error {
		mounts.List() // hangs if the server does
		return nil
	})
}
