package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/log"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/darter-p2p/darter/plugin/rafs/blobfs"
	"github.com/darter-p2p/darter/plugin/rafs/client"
	"github.com/darter-p2p/darter/plugin/rafs/device"
	"github.com/darter-p2p/darter/plugin/rafs/mount"
)

// Options are what a Server is given beside its configuration.
type Options struct {
	Version string
	// Keeper is the command line of a process that runs Keep on its file descriptor 3;
	// nil = no one keeps the connection to the kernel when this process dies.
	Keeper  []string
	Metrics prometheus.Registerer // nil = nowhere
	// Force is the way to mount, for tests; the zero value probes.
	Force mount.Method
}

// Server is the mount server. Its methods may be called concurrently.
type Server struct {
	cfg     Config
	opts    Options
	started time.Time
	darterd *darterd
	shelf   *shelf
	traffic *device.Traffic
	counts  *counts
	fs      *blobfs.FS
	method  mount.Method
	log     *log.Entry

	explain sync.Mutex     // one walk through an image's tree at a time
	work    sync.WaitGroup // for those
	reaped  sync.WaitGroup // for keepers that this process started

	mu      sync.Mutex
	session *blobfs.Session
	keeper  *keeper
	mounts  map[string]*mounted
	closed  bool
}

// Open takes up the mounts that an earlier server left, and returns a server of them
// and of others. Run must be called next, Close last.
func Open(ctx context.Context, cfg Config, o Options) (*Server, error) {
	s := &Server{
		cfg: cfg, opts: o, started: time.Now(), darterd: newDarterd(cfg.Darterd), traffic: device.NewTraffic(),
		fs: blobfs.New(), log: log.G(ctx), mounts: map[string]*mounted{},
	}
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("mount server: %w", err)
	}
	// Not the FUSE directory: nobody may be there to answer a question about it.
	for _, dir := range []string{s.mountsDir(), s.probeDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("mount server: %w", err)
		}
	}
	boot, err := bootID()
	if err != nil {
		return nil, fmt.Errorf("mount server: %w", err)
	}
	if s.shelf, err = openShelf(filepath.Join(cfg.Root, "cache"), cfg.Cache, boot); err != nil {
		return nil, fmt.Errorf("mount server: cache: %w", err)
	}
	if s.counts, err = newCounts(o.Metrics, s); err != nil {
		return nil, fmt.Errorf("mount server: %w", err)
	}
	if err := s.recover(ctx); err != nil {
		s.shelf.stop()
		return nil, fmt.Errorf("mount server: %w", err)
	}
	return s, nil
}

func (s *Server) mountsDir() string  { return filepath.Join(s.cfg.Root, "mounts") }
func (s *Server) fuseDir() string    { return filepath.Join(s.cfg.Root, "fuse") }
func (s *Server) probeDir() string   { return filepath.Join(s.cfg.Root, "probe") }
func (s *Server) keeperPath() string { return filepath.Join(s.cfg.Root, "keeper.sock") }

// Run fetches ahead and watches over the connection to the kernel until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { s.watch(ctx); return nil })
	if s.cfg.Fill.Enable {
		pace := newPace(s.cfg.Fill.Rate)
		for range s.cfg.Fill.Parallel {
			g.Go(func() error { s.fill(ctx, pace); return nil })
		}
	}
	return g.Wait()
}

// watch makes the connection to the kernel anew when it ends, and the keeper when it dies.
func (s *Server) watch(ctx context.Context) {
	for {
		s.mu.Lock()
		session, keeper := s.session, s.keeper
		s.mu.Unlock()
		var served, kept <-chan struct{}
		if session != nil {
			served = session.Served()
		}
		if keeper != nil {
			kept = keeper.gone
		}
		select {
		case <-ctx.Done():
			return
		case <-served:
			s.log.Error("the kernel's connection to the blobs has ended; every mount is made again")
			s.mu.Lock()
			err := s.renewLocked(ctx)
			s.mu.Unlock()
			if err != nil {
				s.log.WithError(err).Error("the blobs cannot be served")
			}
		case <-kept:
			s.log.Warn("the process that keeps the kernel's connection has died; there will be another")
			s.mu.Lock()
			err := s.keepLocked(ctx)
			s.mu.Unlock()
			if err != nil {
				s.log.WithError(err).Error("nobody keeps the kernel's connection: when this process dies, mounts fail until it is back")
			}
		}
	}
}

// Close ends the process's part. With live mounts everything stays for the next server:
// readers of what is not there wait for it. Without, nothing stays.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var errs []error
	if len(s.mounts) > 0 {
		s.fs.Halt() // what is not answered yet is for the next server
	} else if s.session != nil {
		errs = append(errs, s.session.Unmount())
		if s.keeper != nil {
			s.keeper.quit()
			s.reaped.Wait()
		}
	}
	s.session = nil
	if s.keeper != nil {
		s.keeper.leave()
		s.keeper = nil
	}
	s.shelf.stop()
	s.work.Wait()
	for _, m := range s.mounts {
		errs = append(errs, m.file.Close())
	}
	s.darterd.close()
	return errors.Join(errs...)
}

// Status describes the server.
func (s *Server) Status() client.Status {
	used, pinned := s.shelf.usage()
	s.mu.Lock()
	defer s.mu.Unlock()
	return client.Status{
		Version: s.opts.Version, Started: s.started, Mode: client.Mode(s.method.Mode), Reason: s.method.Reason,
		Cache: client.Cache{Dir: s.shelf.dir, Quota: int64(s.cfg.Cache.Quota), Used: used, Pinned: pinned},
	}
}
