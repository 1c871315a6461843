package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/log"

	darterdv1 "github.com/darter-p2p/darter/api/darterd/v1"
	managerv1 "github.com/darter-p2p/darter/api/manager/v1"
	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/internal/block"
	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/p2p/limit"
	"github.com/darter-p2p/darter/p2p/node"
	"github.com/darter-p2p/darter/p2p/store"
)

// apply puts in force what the manager sets, over the node's own file; all of it, or
// nothing and an error.
func (d *daemon) apply(ctx context.Context, s *managerv1.State) error {
	set := s.GetSettings()
	limits, err1 := limitsOver(d.cfg.Limits, set.GetLimits())
	slots, err2 := slotsOver(d.cfg.node(), set.GetPieces())
	space, err3 := spaceOver(d.cfg.store().Space, set.GetDisk())
	rules, err4 := block.New(set.GetBlock().GetApplications(), set.GetBlock().GetUrls(), set.GetBlock().GetTags())
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	if err := d.follow(ctx, s.GetSchedulers()); err != nil {
		return err
	}
	if err := d.rules.Prioritise(applications(set.GetApplications())); err != nil {
		return err
	}
	d.limits.Set(limits)
	d.rules.Block(rules)
	return errors.Join(d.node.Resize(slots), d.store.SetSpace(space)) // both are valid
}

// follow goes to the schedulers of the node's cluster, where its file names none. A list
// without any changes nothing: a manager that knows of none for a moment must not take
// the piece network away.
func (d *daemon) follow(ctx context.Context, all []*managerv1.Scheduler) error {
	if len(d.cfg.Scheduler.Addresses) > 0 || len(all) == 0 {
		return nil
	}
	var addresses []string
	for _, s := range all {
		addresses = append(addresses, s.GetAddress())
	}
	if err := d.tracker.SetAddresses(addresses); err != nil {
		return err
	}
	log.G(ctx).WithField("schedulers", addresses).Debug("The manager names the schedulers")
	return nil
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

// slotsOver returns the configuration with the slots that the manager sets instead.
func slotsOver(c node.Config, set *managerv1.Pieces) (node.Config, error) {
	c.SetSlots(int(set.GetUploadSlots()), int(set.GetDownloadSlots()))
	if err := c.Validate(); err != nil {
		return c, fmt.Errorf("pieces: %w", err)
	}
	return c, nil
}

// spaceOver returns the space of the file with what the manager sets instead.
func spaceOver(s store.Space, set *managerv1.Disk) (store.Space, error) {
	if set == nil {
		return s, nil
	}
	if set.Quota != nil {
		s.Quota = *set.Quota
	}
	if set.KeepFree != nil {
		s.Floor = *set.KeepFree
	}
	if set.TtlSeconds != nil {
		s.TTL = time.Duration(*set.TtlSeconds) * time.Second
	}
	if err := s.Validate(); err != nil {
		return s, fmt.Errorf("disk: %w", err)
	}
	return s, nil
}

func applications(set []*managerv1.Application) (all []fetcher.Application) {
	for _, a := range set {
		one := fetcher.Application{Name: a.GetName(), Priority: int(a.GetPriority())}
		for _, u := range a.GetUrls() {
			one.URLs = append(one.URLs, fetcher.URLPriority{Pattern: u.GetPattern(), Priority: int(u.GetPriority())})
		}
		all = append(all, one)
	}
	return all
}

// managed says what this node has from its manager; nil where there is none.
func (d *daemon) managed() *darterdv1.Manager {
	if d.follower == nil {
		return nil
	}
	s := d.follower.Status()
	m := &darterdv1.Manager{
		Address: d.cfg.Manager.Address, Connected: s.Connected, Since: s.Since, Restored: s.Restored,
		Version: s.State.GetVersion(), Cluster: s.State.GetCluster(), Because: s.State.GetBecause(),
	}
	if s.Err != nil && !s.Connected {
		m.Error = s.Err.Error()
	}
	if s.Refused != nil {
		m.Refused = s.Refused.Error()
	}
	return m
}
