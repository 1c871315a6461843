package main

import (
	"fmt"

	managerv1 "github.com/darter-p2p/darter/api/manager/v1"
	"github.com/darter-p2p/darter/internal/block"
	"github.com/darter-p2p/darter/scheduler/rpc"
	"github.com/darter-p2p/darter/scheduler/swarm"
)

// apply puts in force what the manager sets, over the scheduler's own file; all of it, or
// nothing and an error.
func apply(scheduler *rpc.Server, file swarm.Config, set *managerv1.Settings) error {
	c := swarmOver(file, set.GetSwarm())
	if err := c.Validate(); err != nil {
		return fmt.Errorf("swarm: %w", err)
	}
	// What applications and tags a node downloads for, only the node knows.
	rules, err := block.New(nil, set.GetBlock().GetUrls(), nil)
	if err != nil {
		return err
	}
	scheduler.Configure(c)
	scheduler.Block(rules)
	return nil
}

// swarmOver returns the configuration of the file with what the manager sets instead.
// What depends on the number of neighbours follows it.
func swarmOver(c swarm.Config, set *managerv1.Swarm) swarm.Config {
	if set == nil {
		return c
	}
	for _, one := range []struct {
		into *int
		set  *int64
	}{
		{&c.Neighbours, set.Neighbours},
		{&c.LargeSwarm, set.LargeSwarm},
		{&c.LargeNeighbours, set.LargeNeighbours},
		{&c.SeedDegree, set.SeedDegree},
		{&c.RackNeighbours, set.RackNeighbours},
		{&c.Bridges, set.Bridges},
	} {
		if one.set != nil {
			*one.into = int(*one.set)
		}
	}
	c.LargeNeighbours = max(c.LargeNeighbours, c.Neighbours)
	c.SeedDegree = max(c.SeedDegree, c.Neighbours)
	c.RackNeighbours = min(c.RackNeighbours, c.Neighbours/2)
	c.Bridges = min(c.Bridges, c.Neighbours)
	return c
}
