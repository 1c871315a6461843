package snapshot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	bolt "go.etcd.io/bbolt"
)

// lockWait is how long a process waits for another to give up the snapshots.
const lockWait = 5 * time.Second

// shelf is the metadata and the directories that containerd's overlay snapshotter and
// the door share. The snapshotter's layout is snapshots/<id>/fs; the door adds staged/,
// on the same file system, for layers that are no snapshots yet.
type shelf struct {
	root string
	meta *storage.MetaStore
}

// openShelf opens the metadata. Where another process has it open the error says so.
func openShelf(root string) (*shelf, error) {
	path := filepath.Join(root, "metadata.db")
	meta, err := storage.NewMetaStore(path, func(o *bolt.Options) error {
		o.Timeout = lockWait
		return nil
	})
	if err != nil {
		return nil, err
	}
	// The store opens its file with the first transaction, and makes its buckets with the
	// first snapshot; until then Cleanup would find nothing to compare directories with.
	err = meta.WithTransaction(context.Background(), true, func(ctx context.Context) error {
		if _, err := storage.IDMap(ctx); !errdefs.IsNotFound(err) {
			return err
		}
		if _, err := storage.CreateSnapshot(ctx, snapshots.KindActive, "first", ""); err != nil {
			return err
		}
		_, _, err := storage.Remove(ctx, "first")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s, which one process at a time may use: %w", path, err)
	}
	return &shelf{root: root, meta: meta}, nil
}

func (s *shelf) staged() string            { return filepath.Join(s.root, "staged") }
func (s *shelf) snapshot(id string) string { return filepath.Join(s.root, "snapshots", id) }

// wipe removes what was staged. Nothing is being staged.
func (s *shelf) wipe() error {
	return errors.Join(os.RemoveAll(s.staged()), os.Mkdir(s.staged(), 0o700))
}

// newDir makes the directory of a snapshot to be, with its empty root of files.
func (s *shelf) newDir(chain digest.Digest) (string, error) {
	dir, err := os.MkdirTemp(s.staged(), chain.Encoded()[:12]+"-")
	if err == nil {
		err = os.Mkdir(files(dir), 0o755)
	}
	if err == nil {
		err = os.Chmod(files(dir), 0o755) //nolint:gosec // the root of a container's files
	}
	return dir, err
}

// files is where the files of a snapshot's directory are.
func files(dir string) string { return filepath.Join(dir, "fs") }

// has reports whether a layer of this chain ID is committed above parent, by the door
// or by containerd.
func (s *shelf) has(ctx context.Context, chain digest.Digest, parent string) (bool, error) {
	found := false
	err := s.meta.WithTransaction(ctx, false, func(ctx context.Context) error {
		if _, info, _, err := storage.GetInfo(ctx, nameOf(chain, parent)); err == nil && isLayer(info, chain, parent) {
			found = true
			return nil
		}
		return storage.WalkInfo(ctx, func(_ context.Context, info snapshots.Info) error {
			found = found || isLayer(info, chain, parent)
			return nil
		}, fmt.Sprintf("labels.%q==%s", snapshots.LabelSnapshotRef, chain))
	})
	return found, err
}

func isLayer(i snapshots.Info, chain digest.Digest, parent string) bool {
	return i.Kind == snapshots.KindCommitted && i.Parent == parent && i.Labels[snapshots.LabelSnapshotRef] == chain.String()
}

// chainOf returns the chain ID of the layer that a snapshot is. A client that sets no
// label names the snapshot by it, as containerd does.
func chainOf(i snapshots.Info) (digest.Digest, error) {
	said, ok := i.Labels[snapshots.LabelSnapshotRef]
	if !ok {
		said = i.Name[strings.LastIndexByte(i.Name, '/')+1:]
	}
	chain, err := digest.Parse(said)
	if err != nil {
		return "", fmt.Errorf("is no layer: %q: %w: %w", said, err, errdefs.ErrInvalidArgument)
	}
	return chain, nil
}

// nameOf names the door's snapshots: one name for one layer above one parent.
func nameOf(chain digest.Digest, parent string) string {
	if parent == "" {
		return "darter/" + chain.String()
	}
	above := sha256.Sum256([]byte(parent))
	return "darter/" + chain.String() + "-" + hex.EncodeToString(above[:8])
}

// place makes the staged directory the committed snapshot of a layer, all or nothing:
// the directory takes its place inside the transaction that writes the snapshot down.
// A crash before the end of it leaves a directory without a snapshot, which Cleanup at
// the next start removes; after it, the whole snapshot. On an error the directory is
// where it was. key is free again in either case.
func (s *shelf) place(ctx context.Context, dir, key, parent string, chain digest.Digest, usage snapshots.Usage, labels map[string]string) error {
	moved := ""
	err := s.meta.WithTransaction(context.WithoutCancel(ctx), true, func(ctx context.Context) error {
		made, err := storage.CreateSnapshot(ctx, snapshots.KindActive, key, parent)
		if err != nil {
			return err
		}
		to := s.snapshot(made.ID)
		if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is in the way: %w: %w", to, errdefs.ErrAlreadyExists, err)
		}
		if _, err := storage.CommitActive(ctx, key, nameOf(chain, parent), usage, snapshots.WithLabels(labels)); err != nil {
			return err
		}
		if err := os.Rename(dir, to); err != nil {
			return err
		}
		moved = to
		return nil
	})
	if err != nil && moved != "" {
		err = errors.Join(err, os.Rename(moved, dir))
	}
	if err != nil {
		return fmt.Errorf("commit layer: %w", err)
	}
	return nil
}
