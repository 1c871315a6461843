package snapshot

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
)

// A container in a user namespace, as containerd asks for one of a snapshotter that
// remaps ids: the files of the layers are its own root's, and they stay on the disk as
// they are.
func TestUserNamespace(t *testing.T) {
	needRoot(t)
	if ok, err := overlayutils.SupportsIDMappedMounts(); err != nil || !ok {
		t.Skipf("the kernel has no id-mapped mounts of overlay (%v)", err)
	}
	f := newRegistry()
	d := openDoor(t, f, nil)
	m := f.image("a", []string{"a=1", "b=2"}, nil)
	names := m.pull(t.Context(), t, d)
	mounts, err := d.Prepare(t.Context(), "default/9/container", names[1], snapshots.WithLabels(map[string]string{
		snapshots.LabelSnapshotUIDMapping: "0:200000:65536", snapshots.LabelSnapshotGIDMapping: "0:300000:65536",
	}))
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if err := mount.All(mounts, root); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".", "a", "b"} {
		if uid, gid := owner(t, filepath.Join(root, name)); uid != 200000 || gid != 300000 {
			t.Errorf("%s is of %d:%d", name, uid, gid)
		}
	}
	if err := mount.UnmountAll(root, 0); err != nil {
		t.Error(err)
	}
	below, err := d.shelf.ground(t.Context(), names[1])
	if err != nil {
		t.Fatal(err)
	}
	if uid, gid := owner(t, filepath.Join(below.dirs[0], "b")); uid != 0 || gid != 0 {
		t.Errorf("b is of %d:%d on the disk", uid, gid)
	}
}

func owner(t *testing.T, path string) (uid, gid uint32) {
	t.Helper()
	fi, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	st := fi.Sys().(*syscall.Stat_t)
	return st.Uid, st.Gid
}
