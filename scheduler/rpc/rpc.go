// Package rpc is the scheduler's shell: it gives the pure core of scheduler/swarm
// its clock and its gRPC streams, one for each node. It checks who speaks and that
// what is said is within bounds, passes it to the core as events, and sends the
// core's effects. It decides nothing about swarms.
package rpc

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	schedulerv1 "github.com/darter-p2p/darter/api/scheduler/v1"
	"github.com/darter-p2p/darter/internal/block"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/scheduler/swarm"
	"github.com/darter-p2p/darter/scheduler/tags"
)

// Config sets how the streams of nodes are looked after.
type Config struct {
	Name      string        // of this scheduler, told to nodes
	Heartbeat time.Duration // nodes say something at least so often; whole seconds
	Missed    int           // a node that is silent for so many heartbeats is dead
	Grace     time.Duration // a node whose stream breaks is gone if it is not back by then
	Queue     int           // messages to a node that may wait; one that reads slower is cut off
	TokenLife time.Duration // how long an acting seed may sign digests, by its own clock
}

// Default returns the values for nodes on one data centre's network.
func Default() Config {
	return Config{
		Name:      "scheduler",
		Heartbeat: 10 * time.Second,
		Missed:    3,
		Grace:     time.Second,
		Queue:     4096,
		TokenLife: 3 * time.Hour, // also where its clock is an hour ahead
	}
}

// Validate returns the first value that cannot work.
func (c Config) Validate() error {
	switch {
	case c.Heartbeat < time.Second || c.Heartbeat > time.Hour || c.Heartbeat%time.Second != 0:
		return fmt.Errorf("heartbeat: %v is not whole seconds within 1s to 1h", c.Heartbeat)
	case c.Missed < 1 || c.Missed > 100:
		return fmt.Errorf("missed: %d is not within 1 to 100", c.Missed)
	case c.Grace < 0 || c.Grace > time.Minute:
		return fmt.Errorf("grace: %v is not within 0s to 1m", c.Grace)
	case c.Queue < 16 || c.Queue > 1<<20:
		return fmt.Errorf("queue: %d is not within 16 to 1048576", c.Queue)
	case c.TokenLife < time.Minute || c.TokenLife > 24*time.Hour:
		return fmt.Errorf("token life: %v is not within 1m to 24h", c.TokenLife)
	}
	return nil
}

// Signer signs the right to read a task from its origin and to vouch for the bytes.
type Signer interface {
	// Token returns the encoded token of a host for a task. It may be called concurrently.
	Token(task p2p.TaskID, host p2p.HostID, expires time.Time) ([]byte, error)
}

// Server serves SchedulerService. Serve runs it.
type Server struct {
	schedulerv1.UnimplementedSchedulerServiceServer
	cfg     Config
	signer  Signer
	metrics *metrics
	stop    chan struct{}  // closed at the end: streams end
	readers sync.WaitGroup // of streams
	blocked block.List
	wake    chan struct{} // tells run that it may have to wake earlier

	mu      sync.Mutex
	core    *swarm.Core
	tags    *tags.Memory
	members map[p2p.HostID]*stream
	leaving map[p2p.HostID]time.Time // hosts whose stream broke, and when they are gone
}

var errStopping = errors.New("scheduler is stopping")

// New returns a server around a core, which it takes over. Its metrics are registered with reg.
func New(cfg Config, core *swarm.Core, signer Signer, reg prometheus.Registerer) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("scheduler: %w", err)
	}
	s := &Server{
		cfg:     cfg,
		signer:  signer,
		stop:    make(chan struct{}),
		wake:    make(chan struct{}, 1),
		core:    core,
		tags:    tags.New(tags.Default()),
		members: make(map[p2p.HostID]*stream),
		leaving: make(map[p2p.HostID]time.Time),
	}
	var err error
	if s.metrics, err = newMetrics(reg, s); err != nil {
		return nil, fmt.Errorf("scheduler: %w", err)
	}
	return s, nil
}

// Stats returns the core's counts.
func (s *Server) Stats() swarm.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.core.Stats()
}
