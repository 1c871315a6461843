package snapshot

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots/storage"
	bolt "go.etcd.io/bbolt"
)

// lockWait is how long a process waits for another to give up the snapshots.
const lockWait = 5 * time.Second

// openMeta opens the snapshots' metadata, which containerd's overlay snapshotter and
// the door share. Where another process has it open the error says so.
func openMeta(root string) (*storage.MetaStore, error) {
	path := filepath.Join(root, "metadata.db")
	meta, err := storage.NewMetaStore(path, func(o *bolt.Options) error {
		o.Timeout = lockWait
		return nil
	})
	if err != nil {
		return nil, err
	}
	// The store opens its file with the first transaction.
	if err := meta.WithTransaction(context.Background(), true, func(context.Context) error { return nil }); err != nil {
		return nil, fmt.Errorf("%s, which one process at a time may use: %w", path, err)
	}
	return meta, nil
}
