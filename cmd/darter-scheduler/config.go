package main

import (
	"fmt"

	"github.com/sirupsen/logrus"

	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/internal/dynamic"
	"github.com/darter-p2p/darter/internal/join"
	"github.com/darter-p2p/darter/scheduler/rpc"
	"github.com/darter-p2p/darter/scheduler/swarm"
)

// Config is darter-scheduler's configuration file.
type Config struct {
	Listen  string         `toml:"listen" doc:"Address that nodes connect to, host:port; an empty host is all addresses."`
	Metrics string         `toml:"metrics" doc:"HTTP address of /metrics, /healthz, /healthy and /server/ping; empty serves none."`
	Log     string         `toml:"log_level" doc:"Least severe messages that are logged: error, warning, info, debug or trace."`
	TLS     TLS            `toml:"tls" doc:"The scheduler's identity (darter ca issue --role scheduler). Files that are replaced are used at the next connection."`
	Join    join.Config    `toml:"join" doc:"How this host becomes a member by itself, where a manager lets it."`
	Nodes   Nodes          `toml:"nodes" doc:"How nodes are known to be up."`
	Host    Host           `toml:"host" doc:"Where the scheduler is, for the manager."`
	Manager dynamic.Config `toml:"manager" doc:"The manager, which tells nodes of this scheduler. Nothing waits for it."`
	Swarm   Swarm          `toml:"swarm" doc:"How the nodes that take a task are connected, and who reads it from its origin."`
}

// Host is the scheduler's place.
type Host struct {
	Advertise string `toml:"advertise" doc:"host:port at which nodes reach this scheduler. Empty is the address that the manager sees, with the port of listen."`
	IDC       string `toml:"idc" doc:"Zone."`
	Location  string `toml:"location" doc:"Place, region|zone|rack."`
}

// TLS is where the identity is.
type TLS struct {
	CA   string `toml:"ca" doc:"PEM file of the cluster's CA."`
	Cert string `toml:"cert" doc:"PEM file of the scheduler's certificate."`
	Key  string `toml:"key" doc:"PEM file of the certificate's key."`
}

// Nodes is how nodes are looked after.
type Nodes struct {
	Heartbeat config.Duration `toml:"heartbeat" doc:"Nodes say something at least so often; whole seconds."`
	Missed    int             `toml:"missed" doc:"A node that is silent for so many heartbeats is dead."`
	Grace     config.Duration `toml:"grace" doc:"A node whose connection breaks is gone if it is not back after this."`
}

// Swarm is what of swarm.Config an operator may have a reason to change.
type Swarm struct {
	Neighbours      int             `toml:"neighbours" doc:"Mean number of neighbours of a node in a task; none has more than one and a half times as many."`
	LargeSwarm      int             `toml:"large_swarm" doc:"Nodes in a task above which large_neighbours counts."`
	LargeNeighbours int             `toml:"large_neighbours" doc:"Mean number of neighbours in a large swarm."`
	SeedDegree      int             `toml:"seed_degree" doc:"Most neighbours of a seed in a task."`
	RackNeighbours  int             `toml:"rack_neighbours" doc:"Least neighbours from the own rack, and from outside of it, where racks are known; 0 = racks do not matter."`
	Bridges         int             `toml:"bridges" doc:"Links from a zone to others, per task; 0 = zones do not matter."`
	Warmup          config.Duration `toml:"warmup" doc:"After a start no origin is read for so long, so that nodes can say what they hold already."`
	PullTries       int             `toml:"pull_tries" doc:"Nodes that try to read an origin before the task fails."`
	PullStart       config.Duration `toml:"pull_start" doc:"Longest wait for the origin's first byte before the next node tries."`
	FailureMemory   config.Duration `toml:"failure_memory" doc:"How long an origin's refusal answers later joins, where the origin asks for nothing longer."`
}

// Default returns the configuration of a scheduler with its files in /etc/darter.
func Default() Config {
	nodes, core := rpc.Default(), swarm.Default()
	return Config{
		Listen:  ":8002",
		Metrics: ":8001",
		Log:     "info",
		TLS: TLS{
			CA:   "/etc/darter/tls/ca.crt",
			Cert: "/etc/darter/tls/scheduler.crt",
			Key:  "/etc/darter/tls/scheduler.key",
		},
		Manager: dynamic.Default(),
		Nodes: Nodes{
			Heartbeat: config.Duration(nodes.Heartbeat),
			Missed:    nodes.Missed,
			Grace:     config.Duration(nodes.Grace),
		},
		Swarm: Swarm{
			Neighbours:      core.Neighbours,
			LargeSwarm:      core.LargeSwarm,
			LargeNeighbours: core.LargeNeighbours,
			SeedDegree:      core.SeedDegree,
			RackNeighbours:  core.RackNeighbours,
			Bridges:         core.Bridges,
			Warmup:          config.Duration(core.Warmup),
			PullTries:       core.PullTries,
			PullStart:       config.Duration(core.PullStart),
			FailureMemory:   config.Duration(core.FailureMemory),
		},
	}
}

// Validate returns the first value that cannot work.
func (c *Config) Validate() error {
	if c.Listen == "" {
		return fmt.Errorf("listen: empty, want host:port")
	}
	if _, err := logrus.ParseLevel(c.Log); err != nil {
		return fmt.Errorf("log_level: %w", err)
	}
	if err := c.rpc("").Validate(); err != nil {
		return fmt.Errorf("nodes: %w", err)
	}
	if err := c.Manager.Validate(); err != nil {
		return fmt.Errorf("manager.%w", err)
	}
	if err := c.Join.Validate(c.Manager.Address); err != nil {
		return fmt.Errorf("join.%w", err)
	}
	if err := c.core().Validate(); err != nil {
		return fmt.Errorf("swarm: %w", err)
	}
	return nil
}

func (c *Config) rpc(name string) rpc.Config {
	r := rpc.Default()
	r.Name = name
	r.Heartbeat = c.Nodes.Heartbeat.Duration()
	r.Missed = c.Nodes.Missed
	r.Grace = c.Nodes.Grace.Duration()
	return r
}

func (c *Config) core() swarm.Config {
	s := swarm.Default()
	s.Neighbours = c.Swarm.Neighbours
	s.LargeSwarm = c.Swarm.LargeSwarm
	s.LargeNeighbours = c.Swarm.LargeNeighbours
	s.SeedDegree = c.Swarm.SeedDegree
	s.RackNeighbours = c.Swarm.RackNeighbours
	s.Bridges = c.Swarm.Bridges
	s.Warmup = c.Swarm.Warmup.Duration()
	s.PullTries = c.Swarm.PullTries
	s.PullStart = c.Swarm.PullStart.Duration()
	s.FailureMemory = c.Swarm.FailureMemory.Duration()
	return s
}
