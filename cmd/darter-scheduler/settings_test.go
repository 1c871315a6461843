package main

import (
	"testing"

	managerv1 "github.com/darter-p2p/darter/api/manager/v1"
	"github.com/darter-p2p/darter/scheduler/swarm"
)

func TestSwarmOfTheManager(t *testing.T) {
	file := swarm.Default()
	n := func(v int64) *int64 { return &v }
	for name, tt := range map[string]struct {
		set  *managerv1.Swarm
		want func(*swarm.Config)
	}{
		"nothing": {nil, func(*swarm.Config) {}},
		"empty":   {&managerv1.Swarm{}, func(*swarm.Config) {}},
		"more": {&managerv1.Swarm{Neighbours: n(100)}, func(c *swarm.Config) {
			c.Neighbours, c.LargeNeighbours, c.SeedDegree = 100, 100, 100
		}},
		"fewer": {&managerv1.Swarm{Neighbours: n(2)}, func(c *swarm.Config) { c.Neighbours, c.RackNeighbours = 2, 1 }},
		"all": {&managerv1.Swarm{Neighbours: n(8), LargeSwarm: n(100), LargeNeighbours: n(12), SeedDegree: n(32), RackNeighbours: n(0), Bridges: n(0)},
			func(c *swarm.Config) {
				c.Neighbours, c.LargeSwarm, c.LargeNeighbours, c.SeedDegree, c.RackNeighbours, c.Bridges = 8, 100, 12, 32, 0, 0
			}},
	} {
		want := file
		tt.want(&want)
		got := swarmOver(file, tt.set)
		if got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
		if err := got.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
