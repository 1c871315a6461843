package snapshot

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"
)

// above is containerd's metadata store above the door, as in containerd: over the socket.
func above(t *testing.T, d *Door) *metadata.DB {
	t.Helper()
	client, stop, err := serveDoor(d)
	if err != nil {
		t.Fatal(err)
	}
	content, err := local.NewStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	file, err := bolt.Open(filepath.Join(t.TempDir(), "meta.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := file.Close(); err != nil {
			t.Error(err)
		}
		stop()
	})
	return metadata.NewDB(file, content, map[string]snapshots.Snapshotter{"darter": client})
}

// unpack does what containerd's unpacker does with a snapshotter that has the layers.
func (m *testImage) unpack(ctx context.Context, s snapshots.Snapshotter, n int) error {
	parent := ""
	for i, chain := range m.chains {
		key := fmt.Sprintf(snapshots.UnpackKeyFormat, fmt.Sprint(n, "-", i), chain)
		labels := m.labels(i)
		labels["containerd.io/gc.root"] = "yes" // the image's record would keep it
		if _, err := s.Prepare(ctx, key, parent, snapshots.WithLabels(labels)); !errdefs.IsAlreadyExists(err) {
			return fmt.Errorf("layer %d: %w", i, err)
		}
		parent = chain.String()
		if info, err := s.Stat(ctx, parent); err != nil || info.Kind != snapshots.KindCommitted {
			return fmt.Errorf("layer %d is %v: %w", i, info.Kind, err)
		}
	}
	return nil
}

// containerd finds what the door made, shares it between namespaces, and collects it
// when the last of them does not want it.
func TestBelowContainerdsMetadata(t *testing.T) {
	f := newRegistry()
	d := openDoor(t, f, nil)
	db := above(t, d)
	s := db.Snapshotter("darter")
	m := f.image("a", []string{"a=1", "b=2", "c=3"}, nil)
	spaces := []context.Context{namespaces.WithNamespace(t.Context(), "one"), namespaces.WithNamespace(t.Context(), "two")}
	for n, ctx := range spaces {
		if err := m.unpack(ctx, s, n); err != nil {
			t.Fatal(err)
		}
		if u, err := s.Usage(ctx, m.chains[2].String()); err != nil || u.Size == 0 {
			t.Errorf("usage %+v, %v", u, err)
		}
	}
	if n := f.count(m.blobs[0].Digest); n != 1 {
		t.Errorf("fetched %d times", n)
	}
	for n, ctx := range spaces {
		mounts, err := s.Prepare(ctx, "container", m.chains[2].String(), snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "yes"}))
		if err != nil {
			t.Fatal(err)
		}
		if again, err := s.Mounts(ctx, "container"); err != nil || fmt.Sprint(again) != fmt.Sprint(mounts) {
			t.Errorf("mounts %v, then %v, %v", mounts, again, err)
		}
		for _, name := range []string{"container", m.chains[2].String(), m.chains[1].String(), m.chains[0].String()} {
			if err := s.Remove(ctx, name); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := db.GarbageCollect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if left, want := len(entries(t, d, "snapshots")), 3*(1-n); left != want {
			t.Errorf("%d directories are left, want %d", left, want)
		}
	}
	// And it comes again.
	if err := m.unpack(spaces[0], s, 9); err != nil {
		t.Fatal(err)
	}
}

// A layer that nobody recorded, because the client went away, is collected.
func TestUnrecordedLayer(t *testing.T) {
	f := newRegistry()
	d := openDoor(t, f, nil)
	db := above(t, d)
	m := f.image("a", []string{"a=1"}, nil)
	if name, _, err := m.prepare(t.Context(), d, 0, "", nil); err != nil || name == "" {
		t.Fatal(err)
	}
	ctx := namespaces.WithNamespace(t.Context(), "one")
	if _, err := db.Snapshotter("darter").Prepare(ctx, "other", ""); err != nil {
		t.Fatal(err)
	}
	if err := db.Snapshotter("darter").Remove(ctx, "other"); err != nil { // there is something to collect
		t.Fatal(err)
	}
	if _, err := db.GarbageCollect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := entries(t, d, "snapshots"); len(left) > 0 {
		t.Errorf("snapshots: %q", left)
	}
	if err := m.unpack(ctx, db.Snapshotter("darter"), 1); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(d.cfg.Root, "staged")); err != nil {
		t.Error(err)
	}
}
