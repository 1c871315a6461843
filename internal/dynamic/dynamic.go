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
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/log"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/proto"

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

// Bounds of the pause before the next try, and of the file.
const (
	firstPause = 500 * time.Millisecond
	lastPause  = 15 * time.Second
	maxFile    = 8 << 20
)

// Follower follows one manager.
type Follower struct {
	config Config
	tls    *tls.Config
	hello  func() *managerv1.Hello
	apply  func(context.Context, *managerv1.State) error

	mu    sync.Mutex
	state *managerv1.State
}

// New makes a follower. tls is the client's side of mutual TLS, hello says who we are each
// time we connect, and apply puts a state in force: it is called by one goroutine, with
// the state that was kept on disk first, and must not keep what it is given. A state that
// apply refuses is not reported as in force, and the next is tried.
func New(c Config, tls *tls.Config, hello func() *managerv1.Hello, apply func(context.Context, *managerv1.State) error) *Follower {
	return &Follower{config: c, tls: tls, hello: hello, apply: apply}
}

// State returns what is in force; nil where the manager never said anything.
func (f *Follower) State() *managerv1.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state
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
	l := log.G(ctx).WithField("version", s.GetVersion()).WithField("cluster", s.GetCluster())
	if err := f.apply(ctx, s); err != nil {
		l.WithError(err).Error("What the manager set cannot be put in force; what held before stays")
		return
	}
	f.mu.Lock()
	f.state = s
	f.mu.Unlock()
	l.Info("The manager's settings are in force")
	if err := f.keep(s); err != nil {
		l.WithError(err).Error("What the manager set cannot be kept on disk")
	}
}

// restore puts in force what was kept on disk.
func (f *Follower) restore(ctx context.Context) {
	s, err := read(f.config.State)
	if err == nil && s == nil {
		return
	}
	if err == nil {
		err = f.apply(ctx, s)
	}
	if err != nil {
		log.G(ctx).WithError(err).WithField("file", f.config.State).Warning("What the manager set last cannot be used")
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state = s
}

// read returns a kept state; nil where there is none.
func read(path string) (*managerv1.State, error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%d bytes, want at most %d", info.Size(), maxFile)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := &managerv1.State{}
	if err := proto.Unmarshal(data, s); err != nil {
		return nil, err
	}
	return s, nil
}

// keep writes a state so that a crash leaves the old one or the new one.
func (f *Follower) keep(s *managerv1.State) error {
	data, err := proto.Marshal(s)
	if err != nil {
		return err
	}
	dir := filepath.Dir(f.config.State)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	file, err := os.CreateTemp(dir, ".state-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // nothing is there once it was renamed
	_, err = file.Write(data)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), f.config.State)
}
