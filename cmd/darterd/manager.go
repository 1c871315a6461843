package main

import (
	"context"
	"fmt"
	"os"

	managerv1 "github.com/darter-p2p/darter/api/manager/v1"
	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/internal/dynamic"
	"github.com/darter-p2p/darter/internal/join"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/internal/process"
	"github.com/darter-p2p/darter/internal/version"
	"github.com/darter-p2p/darter/p2p/limit"
)

// addManager follows the manager where there is one: its limits replace those of the
// file while the node runs.
func (d *daemon) addManager(g *process.Group) {
	if d.cfg.Manager.Address == "" {
		return
	}
	f := dynamic.New(d.cfg.Manager, d.id.ClientTLS(pki.Manager), d.hello, func(ctx context.Context, s *managerv1.State) error {
		d.revoked.Set(ctx, s.GetRevoked())
		c, err := limitsOver(d.cfg.Limits, s.GetSettings().GetLimits())
		if err != nil {
			return err
		}
		d.limits.Set(c)
		return nil
	})
	g.Add("manager", f.Run)
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

// limitsOver returns the limits of the file with those that the manager sets instead.
func limitsOver(c limit.Config, set *managerv1.Limits) (limit.Config, error) {
	if set == nil {
		return c, nil
	}
	for _, one := range []struct {
		into *config.Rate
		set  *int64
	}{
		{&c.Upload, set.Upload},
		{&c.Download, set.Download},
		{&c.Task, set.Task},
		{&c.Window, set.Window},
		{&c.Background, set.Background},
	} {
		if one.set != nil {
			*one.into = config.Rate(*one.set * 8) // bits
		}
	}
	if err := c.Validate(); err != nil {
		return c, fmt.Errorf("limits: %w", err)
	}
	return c, nil
}
