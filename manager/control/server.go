package control

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	managerv1 "github.com/darter-p2p/darter/api/manager/v1"
	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/internal/serve/rpc"
	"github.com/darter-p2p/darter/manager/database"
)

// Config is how members are looked after.
type Config struct {
	Heartbeat config.Duration `toml:"heartbeat" doc:"Members say something at least so often; whole seconds."`
	Missed    int             `toml:"missed" doc:"A member that is silent for so many heartbeats is inactive."`
	Poll      config.Duration `toml:"poll" doc:"How often the database is asked for changes through other managers."`
}

// Default tells members of changes through other managers within half a second.
func Default() Config {
	return Config{Heartbeat: config.Duration(15 * time.Second), Missed: 3, Poll: config.Duration(250 * time.Millisecond)}
}

// Validate returns the first value that cannot work.
func (c Config) Validate() error {
	if h := c.Heartbeat.Duration(); h < time.Second || h > time.Hour || h%time.Second != 0 {
		return fmt.Errorf("heartbeat: %v, want whole seconds from 1s to 1h: %w", h, errdefs.ErrInvalidArgument)
	}
	if c.Missed < 2 || c.Missed > 100 {
		return fmt.Errorf("missed: %d is not within 2 and 100: %w", c.Missed, errdefs.ErrInvalidArgument)
	}
	if p := c.Poll.Duration(); p < 10*time.Millisecond || p > time.Minute {
		return fmt.Errorf("poll: %v is not within 10ms and 1m: %w", p, errdefs.ErrInvalidArgument)
	}
	return nil
}

// Server serves members. Make it with New, then call Run and Serve.
type Server struct {
	managerv1.UnimplementedManagerServiceServer
	config Config
	store  *database.Store
	now    func() time.Time

	changed chan struct{} // of capacity 1
	applied chan struct{} // of capacity 1: a member has another version in force
	stop    chan struct{} // closed when streams shall end
	ready   chan struct{} // closed when there is a view
	turns   turns

	searches, misses prometheus.Counter

	mu      sync.Mutex
	view    *view
	streams map[*stream]struct{}
}

// New makes a server over a database; now is the clock.
func New(c Config, store *database.Store, now func() time.Time, metrics prometheus.Registerer) (*Server, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	s := &Server{
		config: c, store: store, now: now,
		changed: make(chan struct{}, 1), applied: make(chan struct{}, 1), stop: make(chan struct{}), ready: make(chan struct{}), streams: map[*stream]struct{}{},
		turns: make(turns, turnsAtOnce),
	}
	// Named as Dragonfly's manager has them, so that dashboards made for it go on.
	s.searches = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "dragonfly_manager_search_scheduler_cluster_total", Help: "Searches for the cluster of a member that connects.",
	})
	s.misses = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "dragonfly_manager_search_scheduler_cluster_failure_total", Help: "Those that found none.",
	})
	connected := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "darter_manager_connected_members", Help: "Schedulers, seeds and nodes that are connected to this manager.",
	}, func() float64 { return float64(s.Connected()) })
	if metrics != nil {
		for _, m := range []prometheus.Collector{s.searches, s.misses, connected} {
			if err := metrics.Register(m); err != nil {
				return nil, fmt.Errorf("control metrics: %w", err)
			}
		}
	}
	return s, nil
}

// Connected returns how many members are connected to this manager.
func (s *Server) Connected() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams)
}

// Changed says that what members are told may have changed. It does not block.
func (s *Server) Changed() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Run keeps the view and the members' rows up to date until ctx ends, and returns nil. A
// database that does not answer is logged; members keep what they were told.
func (s *Server) Run(ctx context.Context) error {
	poll := time.NewTicker(s.config.Poll.Duration())
	defer poll.Stop()
	sweep := time.NewTicker(s.config.Heartbeat.Duration())
	defer sweep.Stop()
	failing := false
	applied := s.applied
	var soon <-chan time.Time // members told of a version: they are noted together
	for {
		err := s.refresh(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if failing != (err != nil) {
			failing = err != nil
			if failing {
				log.G(ctx).WithError(err).Error("Cannot read what members are to be told; they keep what they have")
			} else {
				log.G(ctx).Info("The database answers again")
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-poll.C:
		case <-s.changed:
		case <-applied:
			applied, soon = nil, time.After(noteAfter)
		case <-soon:
			applied, soon = s.applied, nil
			if err := s.note(ctx); err != nil && ctx.Err() == nil {
				log.G(ctx).WithError(err).Warning("Cannot note what members have in force")
			}
		case <-sweep.C:
			if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
				log.G(ctx).WithError(err).Warning("Cannot note which members are up")
			}
		}
	}
}

// refresh makes a new view if rows changed, and wakes the streams.
func (s *Server) refresh(ctx context.Context) error {
	s.mu.Lock()
	have := s.view
	s.mu.Unlock()
	revision, err := s.store.Revision(ctx)
	if err != nil || have != nil && have.revision == revision {
		return err
	}
	v, err := readView(ctx, s.store, uint32(s.config.Heartbeat.Duration()/time.Second), s.now())
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.view = v
	if have == nil {
		close(s.ready)
	}
	for one := range s.streams {
		one.wake()
	}
	return nil
}

// noteAfter is how long what members say of their versions is gathered before it is noted.
const noteAfter = 200 * time.Millisecond

// sweep notes who was heard of, and who was not for too long.
func (s *Server) sweep(ctx context.Context) error {
	if err := s.note(ctx); err != nil {
		return err
	}
	now := s.now()
	_, err := s.store.ExpireMembers(ctx, now.Add(-time.Duration(s.config.Missed)*s.config.Heartbeat.Duration()), now)
	return err
}

// note notes who was heard of, and the version that is in force there.
func (s *Server) note(ctx context.Context) error {
	s.mu.Lock()
	var seen []database.Sighting
	for one := range s.streams {
		if version, heard := one.heard(); heard {
			seen = append(seen, database.Sighting{ID: one.member.ID, ConfigVersion: version})
		}
	}
	s.mu.Unlock()
	if len(seen) == 0 {
		return nil
	}
	return s.store.SeenMembers(ctx, seen, s.now())
}

// Serve accepts members on l until ctx ends; then it ends their streams, so that they go
// to another manager, and returns nil. creds must ask for a certificate; a caller without
// one is no member. Others may register services of their own by register, which may be nil.
func (s *Server) Serve(ctx context.Context, l net.Listener, creds credentials.TransportCredentials, register func(grpc.ServiceRegistrar)) error {
	server := grpc.NewServer(
		grpc.Creds(creds),
		grpc.MaxRecvMsgSize(1<<20),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		// A stream holds these for its life, and there is one for each node of the fleet.
		grpc.ReadBufferSize(1<<10), grpc.WriteBufferSize(4<<10),
	)
	managerv1.RegisterManagerServiceServer(server, s)
	if register != nil {
		register(server)
	}
	state := health.NewServer()
	grpc_health_v1.RegisterHealthServer(server, state)
	reflection.Register(server)
	err := rpc.Serve(ctx, server, l, 0, func() {
		state.Shutdown()
		close(s.stop)
	})
	if err != nil {
		return fmt.Errorf("members: %w", err)
	}
	return nil
}
