package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/darter-p2p/darter/integration/manager"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/manager/database"
)

// phaseWithin bounds every wait.
const phaseWithin = 4 * time.Minute

// bencher is a running benchmark.
type bencher struct {
	plan
	out     io.Writer
	manager *manager.Process
	crowd   *crowd
	rest    *manager.Client
	cluster int64

	underWay atomic.Bool // a change is on its way to the nodes
}

func measure(ctx context.Context, p plan, out io.Writer) (_ *report, err error) {
	dir, err := os.MkdirTemp("/var/tmp", "darter-bench-manager-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ca, identity, err := certificates(filepath.Join(dir, "tls"))
	if err != nil {
		return nil, err
	}
	cfg := database.Default()
	cfg.Path = filepath.Join(dir, "manager.db")
	b := &bencher{plan: p, out: out}
	b.manager, err = manager.Start(ctx, manager.Options{Program: p.program, Dir: dir, Identity: identity, Database: cfg, Log: "warning"})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.manager.End(syscall.SIGKILL)) }()
	fmt.Fprintf(out, "certificates of %d nodes …\n", p.Nodes)
	if b.crowd, err = newCrowd(ca, b.manager.Members, p.Nodes, p.Dialing); err != nil {
		return nil, err
	}
	if err := b.signIn(ctx); err != nil {
		return nil, err
	}
	var nodes sync.WaitGroup
	ctx, stop := context.WithCancel(ctx)
	defer nodes.Wait()
	defer stop()
	r := &report{Plan: p}
	begun := time.Now()
	for _, n := range b.crowd.nodes {
		nodes.Go(func() { _ = n.run(ctx) })
	}
	for _, phase := range []struct {
		name string
		do   func(context.Context, *report) error
		into *usage
	}{
		{"all nodes connect", func(ctx context.Context, r *report) (err error) {
			r.ConnectSeconds, err = b.everybody(ctx, begun)
			return err
		}, &r.Connecting},
		{"they keep alive", b.idle, &r.Idling},
		{"configurations change, lists are read", b.change, &r.Changing},
		{"the manager is killed, all come back", b.restart, &r.Returning},
	} {
		fmt.Fprintf(out, "%s …\n", phase.name)
		before, err := readUsage(b.manager.Pid())
		if err != nil {
			return nil, err
		}
		if err := phase.do(ctx, r); err != nil {
			return nil, fmt.Errorf("%s: %w", phase.name, err)
		}
		after, err := readUsage(b.manager.Pid())
		if err != nil {
			return nil, err
		}
		*phase.into = after.since(before)
		fmt.Fprintf(out, "  %s\n", phase.into)
	}
	return r, nil
}

// certificates makes a CA and the manager's identity.
func certificates(dir string) (*pki.CA, pki.Files, error) {
	ca, err := pki.CreateCA("bench", time.Now(), 24*time.Hour)
	if err != nil {
		return nil, pki.Files{}, err
	}
	if err := ca.Write(dir); err != nil {
		return nil, pki.Files{}, err
	}
	pair, err := ca.Issue(pki.Request{Role: pki.Manager, Name: "manager"}, time.Now())
	if err != nil {
		return nil, pki.Files{}, err
	}
	files, err := pair.Write(dir)
	return ca, files, err
}

// everybody waits until all nodes have been told something.
func (b *bencher) everybody(ctx context.Context, begun time.Time) (float64, error) {
	late := time.After(phaseWithin)
	for said := time.Now(); ; {
		n := b.crowd.streams.Load()
		if n == int64(b.Nodes) {
			return time.Since(begun).Seconds(), nil
		}
		if time.Since(said) > 5*time.Second {
			fmt.Fprintf(b.out, "  %.0f s: %d\n", time.Since(begun).Seconds(), n)
			said = time.Now()
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-late:
			return 0, fmt.Errorf("%d of %d nodes after %v", n, b.Nodes, phaseWithin)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// idle lets the nodes keep alive.
func (b *bencher) idle(ctx context.Context, r *report) error {
	told := b.crowd.told.Load()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Duration(b.Idle * float64(time.Second))):
	}
	r.IdleStates = b.crowd.told.Load() - told
	return nil
}

// restart kills the manager and waits for all nodes.
func (b *bencher) restart(ctx context.Context, r *report) error {
	begun := time.Now()
	if err := b.manager.End(syscall.SIGKILL); err != nil {
		return err
	}
	for b.crowd.streams.Load() > 0 { // every node has noticed
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	if err := b.manager.Restart(ctx); err != nil {
		return err
	}
	var err error
	r.ReturnSeconds, err = b.everybody(ctx, begun)
	return err
}
