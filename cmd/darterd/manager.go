package main

import (
	"context"
	"os"

	managerv1 "github.com/darter-p2p/darter/api/manager/v1"
	"github.com/darter-p2p/darter/internal/dynamic"
	"github.com/darter-p2p/darter/internal/join"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/internal/version"
)

// addManager follows the manager where there is one.
func (d *daemon) addManager() {
	if d.cfg.Manager.Address == "" {
		return
	}
	d.follower = dynamic.New(d.cfg.Manager, d.id.ClientTLS(pki.Manager), d.hello, func(ctx context.Context, s *managerv1.State) error {
		d.revoked.Set(ctx, s.GetRevoked())
		return d.apply(ctx, s)
	})
	d.service.Add("manager", d.follower.Run)
}

// joins is this host as it becomes a member.
func (d *daemon) joins() join.Host {
	role := pki.Node
	if d.cfg.Seed.Enable {
		role = pki.Seed
	}
	return join.Host{Config: d.cfg.Join, Address: d.cfg.Manager.Address, Role: role, Files: d.cfg.TLS.files()}
}

// hello says who this node is.
func (d *daemon) hello() *managerv1.Hello {
	hostname, _ := os.Hostname() // it is for people and for scopes; empty matches none
	return &managerv1.Hello{
		Hostname: hostname, Address: d.self.Addr, JobAddress: d.cfg.Jobs.Listen,
		Idc: d.cfg.Host.IDC, Location: d.cfg.Host.Location, Version: version.Number(),
	}
}
