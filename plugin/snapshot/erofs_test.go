package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"

	"github.com/darter-p2p/darter/plugin/rafs"
	"github.com/darter-p2p/darter/plugin/rafs/client"
)

// kernel is a mount server that has every blob whole: it makes the devices and has the
// kernel mount the bootstrap over them.
type kernel struct {
	*mounter
	dir   string // of the devices
	blobs string // directory of the blobs, by their IDs
}

func (k *kernel) Mount(ctx context.Context, r client.Request) error {
	if err := k.mounter.Mount(ctx, r); err != nil {
		return err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(r.Mountpoint, &fs); err != nil || fs.Type == unix.EROFS_SUPER_MAGIC_V1 {
		return err // it is idempotent
	}
	devices, err := k.devices(r.Bootstrap)
	if err != nil {
		return err
	}
	return unix.Mount(r.Bootstrap, r.Mountpoint, "erofs", unix.MS_RDONLY, strings.Join(devices, ","))
}

// devices decodes the blobs of a bootstrap and returns the options that name them.
func (k *kernel) devices(bootstrap string) (options []string, err error) {
	f, err := os.Open(bootstrap)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	im, err := rafs.Open(f, fi.Size(), rafs.DefaultLimits())
	if err != nil {
		return nil, err
	}
	for _, b := range im.Blobs() {
		blob, err := os.ReadFile(filepath.Join(k.blobs, b.ID))
		if err != nil {
			return nil, err
		}
		device := make([]byte, b.DeviceSize)
		for i, c := range b.Chunks() {
			compressed := blob[c.CompressedOffset:][:c.CompressedSize]
			if err := b.Decode(i, compressed, device[c.DeviceOffset():c.DeviceEnd()]); err != nil {
				return nil, err
			}
		}
		path := filepath.Join(k.dir, b.ID)
		if err := os.WriteFile(path, device, 0o600); err != nil {
			return nil, err
		}
		options = append(options, "device="+path)
	}
	return options, nil
}

func (k *kernel) Unmount(ctx context.Context, id string) error {
	k.mu.Lock()
	r, ok := k.mounts[id]
	k.mu.Unlock()
	if ok {
		if err := unix.Unmount(r.Mountpoint, 0); err != nil {
			return fmt.Errorf("unmount %s: %w", r.Mountpoint, err)
		}
	}
	return k.mounter.Unmount(ctx, id)
}

// What the door returns for a Nydus image the kernel mounts, and it is the image.
func TestNydusRootfs(t *testing.T) {
	needRoot(t)
	f := newRegistry()
	k := &kernel{newMounter(), t.TempDir(), "../rafs/testdata"}
	cfg := testConfig(t.TempDir())
	d := openDoorWith(t, cfg, Options{Fetcher: f, Unpacker: f, Mounter: k})
	names := f.nydus("image/image.boot="+readBootstrap(t, "small.boot"), nil).pullLazy(t, d)
	ctx := t.Context()
	at := t.TempDir()
	// use mounts a snapshot as a runtime does, and removes it after.
	use := func(key string, mounts []mount.Mount, err error, f func()) {
		t.Helper()
		if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOTBLK) {
			t.Skipf("this kernel does not mount EROFS files: %v", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := mount.All(mounts, at); err != nil {
			t.Fatalf("%v: %v", mounts, err)
		}
		f()
		if err := mount.UnmountAll(at, 0); err != nil {
			t.Fatal(err)
		}
		if key != "" {
			if err := d.Remove(ctx, key); err != nil {
				t.Fatal(err)
			}
		}
	}
	find := func(name string) string {
		t.Helper()
		var found string
		_ = filepath.WalkDir(at, func(path string, _ os.DirEntry, err error) error {
			if err == nil && filepath.Base(path) == name {
				found = path
			}
			return nil
		})
		return found
	}
	size := func(name string) int64 {
		t.Helper()
		b, err := os.ReadFile(find(name))
		if err != nil {
			t.Error(err)
		}
		return int64(len(b))
	}

	mounts, err := d.Prepare(ctx, "default/1/one", names[1])
	use("", mounts, err, func() {
		if got := size("lib.rs"); got != 16931 {
			t.Errorf("lib.rs has %d bytes", got)
		}
		if err := os.Remove(find("sync_io.rs")); err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(filepath.Join(at, "new"), []byte("mine"), 0o600); err != nil {
			t.Error(err)
		}
	})
	view, err := d.View(ctx, "default/1/view", names[1])
	use("default/1/view", view, err, func() {
		if got := size("sync_io.rs"); got != 13400 {
			t.Errorf("the image's sync_io.rs has %d bytes", got)
		}
		if err := os.WriteFile(filepath.Join(at, "new"), nil, 0o600); !errors.Is(err, unix.EROFS) {
			t.Errorf("a view can be written: %v", err)
		}
	})
	// A layer above the image: what the container changed, and the rest of the image.
	if err := d.Commit(ctx, "default/1/changed", "default/1/one"); err != nil {
		t.Fatal(err)
	}
	if k.count() != 0 {
		t.Error("the image is mounted for nobody")
	}
	view, err = d.View(ctx, "default/1/changedview", "default/1/changed")
	use("default/1/changedview", view, err, func() {
		if find("sync_io.rs") != "" || size("new") != 4 || size("lib.rs") != 16931 {
			t.Error("the changed image is not what the container left")
		}
	})
	if mounted, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounted), cfg.Root) {
		t.Errorf("mounts are left: %v\n%s", err, mounted)
	}
}
