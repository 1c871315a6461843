package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/containerd/log"

	managerv1 "github.com/darter-p2p/darter/api/manager/v1"
	"github.com/darter-p2p/darter/internal/dynamic"
	"github.com/darter-p2p/darter/internal/health"
	"github.com/darter-p2p/darter/internal/join"
	"github.com/darter-p2p/darter/internal/metrics"
	"github.com/darter-p2p/darter/internal/notify"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/internal/process"
	"github.com/darter-p2p/darter/internal/serve"
	"github.com/darter-p2p/darter/internal/version"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/trust"
	"github.com/darter-p2p/darter/scheduler/rpc"
	"github.com/darter-p2p/darter/scheduler/swarm"
)

// signer signs tokens with the certificate that is in use.
type signer struct{ id *pki.Identity }

func (s signer) Token(task p2p.TaskID, host p2p.HostID, expires time.Time) ([]byte, error) {
	key, cert := s.id.Signer()
	by, err := trust.NewSigner(key, cert, nil)
	if err != nil {
		return nil, err
	}
	token, err := by.Token(task, host, expires)
	if err != nil {
		return nil, err
	}
	return token.Encode(), nil
}

// run serves until ctx ends.
func run(ctx context.Context, _ io.Writer, cfg Config) error {
	if err := log.SetLevel(cfg.Log); err != nil {
		return fmt.Errorf("log_level: %w", err)
	}
	if err := join.Enroll(ctx, cfg.joins()); err != nil {
		return err
	}
	id, err := identity(ctx, cfg.TLS)
	if err != nil {
		return err
	}
	revoked := join.Restore(ctx, id, cfg.Manager.State+".revoked")
	registry := metrics.New("darter-scheduler", version.Number())
	core := swarm.New(cfg.core(), rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())))
	scheduler, err := rpc.New(cfg.rpc(id.Name().Name), core, signer{id}, registry)
	if err != nil {
		return err
	}

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
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen for nodes: %w", err)
	}
	parts.Add("nodes", func(ctx context.Context) error { return scheduler.Serve(ctx, l, id) })
	parts.Add("membership", func(ctx context.Context) error { return join.Keep(ctx, cfg.joins(), id) })
	if cfg.Manager.Address != "" {
		f := dynamic.New(cfg.Manager, id.ClientTLS(pki.Manager), func() *managerv1.Hello { return hello(&cfg) },
			func(ctx context.Context, s *managerv1.State) error {
				revoked.Set(ctx, s.GetRevoked())
				return apply(scheduler, cfg.core(), s.GetSettings())
			})
		parts.Add("manager", f.Run)
	}
	parts.Add("watchdog", func(ctx context.Context) error {
		return manager.Watch(ctx, func(context.Context) error {
			scheduler.Stats() // hangs if the core does
			return nil
		})
	})

	state.Ready()
	report(ctx, manager.Ready())
	log.G(ctx).WithField("address", l.Addr()).WithField("name", id.Name()).WithField("version", version.Number()).Info("Scheduling")
	return parts.Run(ctx)
}

// joins is this host as it becomes a member.
func (c *Config) joins() join.Host {
	return join.Host{Config: c.Join, Address: c.Manager.Address, Role: pki.Scheduler, Files: pki.Files{CA: c.TLS.CA, Cert: c.TLS.Cert, Key: c.TLS.Key}}
}

// hello says who this scheduler is.
func hello(cfg *Config) *managerv1.Hello {
	hostname, _ := os.Hostname() // it is for people and for scopes; empty matches none
	address := cfg.Host.Advertise
	if address == "" {
		address = cfg.Listen
	}
	return &managerv1.Hello{
		Hostname: hostname, Address: address, Idc: cfg.Host.IDC, Location: cfg.Host.Location, Version: version.Number(),
	}
}

// identity loads the scheduler's certificate.
func identity(ctx context.Context, files TLS) (*pki.Identity, error) {
	id, err := pki.Load(pki.Files{CA: files.CA, Cert: files.Cert, Key: files.Key})
	if err != nil {
		return nil, err
	}
	if role := id.Name().Role; role != pki.Scheduler {
		return nil, fmt.Errorf("%s has the role %s, want %s: no node would believe it", files.Cert, role, pki.Scheduler)
	}
	id.OnReload(func(err error) {
		if err != nil {
			log.G(ctx).WithError(err).Error("The replaced certificate cannot be used; the earlier one stays in use")
			return
		}
		log.G(ctx).Info("The certificate was replaced")
	})
	return id, nil
}

// report logs what the service manager could not be told; it is no reason to stop.
func report(ctx context.Context, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		log.G(ctx).WithError(err).Warning("Cannot tell the service manager")
	}
}
