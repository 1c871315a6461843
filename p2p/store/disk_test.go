package store_test

import (
	"context"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/darter-p2p/darter/p2p/store"
	"github.com/darter-p2p/darter/p2p/store/storetest"
	"github.com/darter-p2p/darter/p2p/store/vfs"
)

func TestMain(m *testing.M) {
	if root := rootOfChild(); root != "" {
		writeUntilKilled(root)
		return
	}
	goleak.VerifyTestMain(m)
}

// config is that of a store on a file system in memory, or on the disk with nil.
func config(fs vfs.FS, root string) store.Config {
	cfg := store.Default()
	cfg.Root, cfg.FS, cfg.Floor = root, fs, 0
	return cfg
}

func open(t testing.TB, cfg store.Config) *store.Disk {
	t.Helper()
	d, err := store.Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func onDisk(t *testing.T) store.Config { return config(nil, filepath.Join(t.TempDir(), "pieces")) }

func TestSuite(t *testing.T) {
	t.Run("Disk", func(t *testing.T) { runSuite(t, onDisk) })
	t.Run("MemoryFS", func(t *testing.T) {
		runSuite(t, func(*testing.T) store.Config { return config(vfs.NewMemory(), "/pieces") })
	})
	t.Run("SparseMemoryFS", func(t *testing.T) {
		runSuite(t, func(*testing.T) store.Config {
			fs := vfs.NewMemory()
			fs.SetSparse(true)
			return config(fs, "/pieces")
		})
	})
	t.Run("Memory", func(t *testing.T) {
		storetest.Run(t, func(*testing.T) store.Store { return store.NewMemory(0) },
			storetest.WithQuota(func(_ *testing.T, quota int64) store.Store { return store.NewMemory(quota) }))
	})
}

func runSuite(t *testing.T, configure func(*testing.T) store.Config) {
	configs := map[store.Store]store.Config{}
	openIt := func(t *testing.T, cfg store.Config) store.Store {
		d := open(t, cfg)
		configs[d] = cfg
		return d
	}
	storetest.Run(t, func(t *testing.T) store.Store { return openIt(t, configure(t)) },
		storetest.WithQuota(func(t *testing.T, quota int64) store.Store {
			cfg := configure(t)
			cfg.Quota = quota
			return openIt(t, cfg)
		}),
		storetest.WithReopen(func(t *testing.T, old store.Store) store.Store {
			if err := old.Close(); err != nil {
				t.Fatal(err)
			}
			return openIt(t, configs[old])
		}))
}
