package cluster

import (
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p/store"
	"github.com/darter-p2p/darter/p2p/store/vfs"
)

// A node whose disk fills up while it pulls gives its client the right bytes, past the
// store, from its neighbours; the others take no notice. So does a seed: another host
// reads in its place.
func TestDiskFull(t *testing.T) {
	for _, who := range []string{"n0", "seed"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			c := New(t)
			v := c.Put("app", 16<<20)
			var writes atomic.Int64
			full := Options{Fetch: asConfigured, Store: func(s *store.Config) {
				s.FS = vfs.WithFaults(vfs.OS{}, func(op vfs.Op) error {
					// The pieces of the first MiB fit.
					if op.Kind == vfs.OpWrite && !strings.Contains(op.Name, "journal") && writes.Add(1) > 16 {
						return syscall.ENOSPC
					}
					return nil
				})
			}}
			o := func(name string) Options {
				if name == who {
					return full
				}
				return Options{Fetch: asConfigured}
			}
			c.Start(pki.Seed, "seed", o("seed"))
			nodes := []*Node{c.Start(pki.Node, "n0", o("n0"))}
			for _, name := range []string{"n1", "n2", "n3", "n4", "n5", "n6", "n7"} {
				nodes = append(nodes, c.Start(pki.Node, name, o(name)))
			}
			copies, took := c.crowd(t, v, nodes)
			if copies > 1.2 || took > unbearable {
				t.Error("that is too much")
			}
			if writes.Load() <= 16 {
				t.Errorf("the disk was not full: %d writes", writes.Load())
			}
		})
	}
}

// A content that does not fit beside those in use is streamed past the store, and what
// is in use stays; when its reader is gone, it makes room.
func TestEvictionUnderReaders(t *testing.T) {
	c := New(t)
	a, b := c.Put("app", 12<<20), c.Put("app", 11<<20)
	c.Start(pki.Seed, "seed", Options{})
	n := c.Start(pki.Node, "n", Options{Fetch: asConfigured, Store: func(s *store.Config) { s.Quota = 16 << 20 }})
	slow, err := n.Fetcher.Open(patience(t), a.Ask("app"), fetcher.All)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(a.Data))
	if _, err := io.ReadFull(slow, got[:1<<20]); err != nil {
		t.Fatal(err)
	}
	until(t, "a is complete", func() bool { s, ok := n.Task(a.Task); return ok && s.Complete })
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := read(patience(t), n, b, fetcher.All); err != nil {
				t.Errorf("what does not fit: %v", err)
			}
		})
	}
	wg.Wait()
	if _, err := io.ReadFull(slow, got[1<<20:]); err != nil || string(got) != string(a.Data) {
		t.Errorf("the reader of what was in use: %v", err)
	}
	_ = slow.Close()
}
