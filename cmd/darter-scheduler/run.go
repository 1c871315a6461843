package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"

	"github.com/containerd/log"

	managerv1 "github.com/darter-p2p/darter/api/manager/v1"
	"github.com/darter-p2p/darter/cmd/internal/program"
	"github.com/darter-p2p/darter/internal/dynamic"
	"github.com/darter-p2p/darter/internal/join"
	"github.com/darter-p2p/darter/internal/metrics"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/internal/version"
	"github.com/darter-p2p/darter/p2p/trust"
	"github.com/darter-p2p/darter/scheduler/rpc"
	"github.com/darter-p2p/darter/scheduler/swarm"
)

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
	scheduler, err := rpc.New(cfg.rpc(id.Name().Name), core, trust.Tokens{Identity: id}, registry)
	if err != nil {
		return err
	}

	service := program.NewService(ctx)
	if err := service.AddMetrics(cfg.Metrics, registry); err != nil {
		return err
	}
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen for nodes: %w", err)
	}
	service.Add("nodes", func(ctx context.Context) error { return scheduler.Serve(ctx, l, id) })
	service.Add("membership", func(ctx context.Context) error { return join.Keep(ctx, cfg.joins(), id) })
	if cfg.Manager.Address != "" {
		f := dynamic.New(cfg.Manager, id.ClientTLS(pki.Manager), func() *managerv1.Hello { return hello(&cfg) },
			func(ctx context.Context, s *managerv1.State) error {
				revoked.Set(ctx, s.GetRevoked())
				return apply(scheduler, cfg.core(), s.GetSettings())
			})
		service.Add("manager", f.Run)
	}
	log.G(ctx).WithField("address", l.Addr()).WithField("name", id.Name()).WithField("version", version.Number()).Info("Scheduling")
	return service.Run(ctx, func(context.Context) error {
		scheduler.Stats() // hangs if the core does
		return nil
	})
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
