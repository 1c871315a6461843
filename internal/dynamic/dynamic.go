// Package dynamic is a member's side of api/manager/v1: it follows what the manager sets,
// has it put in force, and keeps the last on disk, so that it holds after a restart while
// the manager is away. Nothing waits for it.
package dynamic

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/containerd/log"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	managerv1 "github.com/darter-p2p/darter/api/manager/v1"
)

// Config says where the manager is.
type Config struct {
	Address string `toml:"address" doc:"host:port of the manager's gRPC. Empty = there is no manager."`
	Cluster string `toml:"cluster" doc:"The cluster to be in whatever the manager's scopes say. Empty = the manager chooses."`
	State   string `toml:"state" doc:"File that keeps what the manager said last, for when it is away."`
}

// Default is no manager.
func Default() Config { return Config{State: "/var/lib/darter/manager.state"} }

// Validate returns the first value that cannot work.
func (c Config) Validate() error {
	if c.Address == "" {
		return nil
	}
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		return fmt.Errorf("address: %w", err)
	}
	if c.State == "" {
		return errors.New("state: empty, want a file")
	}
	return nil
}

// Bounds of the pause before the next try.
const (
	firstPause = 500 * time.Millisecond
	lastPause  = 15 * time.Second
)

// Follower follows one manager.
type Follower struct {
	config Config
	tls    *tls.Config
	hello  func() *managerv1.Hello
	apply  func(context.Context, *managerv1.State) error

	mu     sync.Mutex
	status Status
}

// Status is what a follower knows of its manager.
type Status struct {
	// State is what is in force; nil where the manager never said anything. It must not
	// be changed.
	State *managerv1.State
	// Restored says that State is what was kept on disk, and the manager was not heard of
	// since the start.
	Restored bool
	// Connected says that the manager is there, Since from when on it was or was not, and
	// Err why it is not.
	Connected bool
	Since     time.Time
	Err       error
	// Refused is why the newest that the manager set is not in force; nil where it is.
	Refused error
}

// New makes a follower. tls is the client's side of mutual TLS, hello says who we are each
// time we connect, and apply puts a state in force: it is called by one goroutine, with
// the state that was kept on disk first, and must not change what it is given. A state that
// apply refuses is not reported as in force, and the next is tried.
func New(c Config, tls *tls.Config, hello func() *managerv1.Hello, apply func(context.Context, *managerv1.State) error) *Follower {
	return &Follower{config: c, tls: tls, hello: hello, apply: apply, status: Status{Since: time.Now()}}
}

// State returns what is in force; nil where the manager never said anything.
func (f *Follower) State() *managerv1.State { return f.Status().State }

// Status returns what is known of the manager.
func (f *Follower) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

// note changes the status.
func (f *Follower) note(change func(*Status)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.status)
}

// Run follows until ctx ends, and returns nil.
func (f *Follower) Run(ctx context.Context) error {
	f.restore(ctx)
	conn, err := grpc.NewClient("passthrough:///"+f.config.Address,
		grpc.WithTransportCredentials(credentials.NewTLS(f.tls)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: firstPause, Multiplier: 1.6, Jitter: 0.2, MaxDelay: lastPause},
			MinConnectTimeout: 10 * time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 20 * time.Second}),
		grpc.WithReadBufferSize(4<<10), grpc.WithWriteBufferSize(4<<10),
	)
	if err != nil {
		return fmt.Errorf("follow the manager: %w", err)
	}
	defer conn.Close()
	client := managerv1.NewManagerServiceClient(conn)
	pause := firstPause
	away := false
	for ctx.Err() == nil {
		heard, err := f.session(ctx, client)
		if ctx.Err() != nil {
			break
		}
		if heard {
			away, pause = false, firstPause
		}
		f.note(func(s *Status) {
			if s.Connected {
				s.Connected, s.Since = false, time.Now()
			}
			s.Err = err
		})
		if !away { // once for each time that it goes away
			away = true
			log.G(ctx).WithError(err).WithField("manager", f.config.Address).Warning("The manager is away; what it set stays in force")
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + rand.N(pause)):
		}
		pause = min(2*pause, lastPause)
	}
	return nil
}

// session follows one stream until it breaks, and reports whether the manager said
// anything.
func (f *Follower) session(ctx context.Context, client managerv1.ManagerServiceClient) (heard bool, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	stream, err := client.Connect(ctx)
	if err != nil {
		return false, err
	}
	hello := f.hello()
	hello.Cluster = f.config.Cluster
	hello.StateVersion = f.State().GetVersion()
	if err := stream.Send(&managerv1.ConnectRequest{Message: &managerv1.ConnectRequest_Hello{Hello: hello}}); err != nil {
		return false, err
	}
	beats := make(chan time.Duration, 1) // the period, when a state was put in force
	var wait sync.WaitGroup
	wait.Go(func() { f.beat(ctx, stream, beats) })
	defer wait.Wait()
	defer stop() // before the wait
	for {
		m, err := stream.Recv()
		if err != nil {
			return heard, err
		}
		if m.GetState() == nil {
			continue
		}
		heard = true
		f.take(ctx, m.GetState())
		period := time.Duration(max(m.GetState().GetHeartbeatSeconds(), 1)) * time.Second
		select {
		case <-beats:
		default:
		}
		beats <- period
	}
}

// beat says at once what is in force when that changes, and then as often as it is asked
// to, until ctx ends.
func (f *Follower) beat(ctx context.Context, stream grpc.BidiStreamingClient[managerv1.ConnectRequest, managerv1.ConnectResponse], beats <-chan time.Duration) {
	period := time.Hour
	for {
		select {
		case <-ctx.Done():
			return
		case period = <-beats:
		case <-time.After(period):
		}
		err := stream.Send(&managerv1.ConnectRequest{Message: &managerv1.ConnectRequest_Heartbeat{
			Heartbeat: &managerv1.Heartbeat{StateVersion: f.State().GetVersion()},
		}})
		if err != nil {
			return // the receiving side says why
		}
	}
}

// take puts a state in force and keeps it.
func (f *Follower) take(ctx context.Context, s *managerv1.State) {
	was := f.State()
	err := f.apply(ctx, s)
	f.note(func(now *Status) {
		if !now.Connected {
			now.Connected, now.Since = true, time.Now()
		}
		now.Err, now.Refused = nil, err
		if err == nil {
			now.State, now.Restored = s, false
		}
	})
	l := log.G(ctx).WithField("version", s.GetVersion()).WithField("cluster", s.GetCluster())
	if was.GetClusterId() != s.GetClusterId() || was == nil {
		l = l.WithField("because", s.GetBecause()).WithField("schedulers", addresses(s))
	}
	if err != nil {
		l.WithError(err).Error("What the manager set cannot be put in force; what held before stays")
		return
	}
	l.Info("The manager's settings are in force")
	if err := keep(f.config.State, s); err != nil {
		l.WithError(err).Error("What the manager set cannot be kept on disk")
	}
}

// addresses are those of a state's schedulers.
func addresses(s *managerv1.State) (all []string) {
	for _, one := range s.GetSchedulers() {
		all = append(all, one.GetAddress())
	}
	return all
}

// restore puts in force what was kept on disk.
func (f *Follower) restore(ctx context.Context) {
	l := log.G(ctx).WithField("file", f.config.State)
	s, err := read(f.config.State)
	if err == nil && s == nil {
		return
	}
	if err == nil {
		err = f.apply(ctx, s)
	}
	if err != nil {
		l.WithError(err).Warning("What the manager set last cannot be used; the own configuration holds until the manager is heard of")
		return
	}
	f.note(func(now *Status) { now.State, now.Restored = s, true })
	l.WithField("version", s.GetVersion()).WithField("cluster", s.GetCluster()).Info("What the manager set last is in force")
}
