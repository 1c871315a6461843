package rafs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/darter-p2p/darter/plugin/rafs/format"
)

// The kernel mounts the bootstraps and shows, file by file, what this package
// reads: names, attributes, link targets, and contents where the blob is there.
func TestAsTheKernel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	b, _ := mixed(t)
	for name, c := range map[string]struct {
		boot  []byte
		blobs [][]byte // nil: the devices are holes
	}{
		"small":  {read(t, "small.boot"), [][]byte{read(t, smallBlob)}},
		"debian": {read(t, "debian.boot"), nil},
		"mixed":  {b.bytes(), b.data},
	} {
		t.Run(name, func(t *testing.T) {
			im := open(t, c.boot)
			devices := make([][]byte, len(im.Blobs()))
			for i, blob := range im.Blobs() {
				if c.blobs != nil {
					devices[i] = device(t, blob, c.blobs[i])
				}
			}
			mnt := mount(t, im, c.boot, devices)
			seen := map[string]bool{}
			if err := im.Walk(func(path string, in *Inode) error {
				seen[path] = true
				got, err := describe(im, in)
				if err != nil {
					return err
				}
				if want := shown(t, filepath.Join(mnt, path)); got != want {
					t.Errorf("%s: read\n%s, the kernel shows\n%s", path, got, want)
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if err := filepath.WalkDir(mnt, func(path string, _ fs.DirEntry, err error) error {
				if rel, _ := filepath.Rel(mnt, path); !seen[rel] {
					t.Errorf("the kernel shows %s", rel)
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
			if c.blobs == nil {
				return
			}
			for path, want := range contents(t, im, devices) {
				if got, err := os.ReadFile(filepath.Join(mnt, path)); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s: %d bytes of %d are read, %v", path, len(got), len(want), err)
				}
			}
		})
	}
}

// mount has the kernel mount a bootstrap, with a file for each device.
func mount(t *testing.T, im *Image, boot []byte, devices [][]byte) string {
	t.Helper()
	dir := t.TempDir()
	var options []string
	for i, blob := range im.Blobs() {
		path := filepath.Join(dir, fmt.Sprint("device", i))
		if err := os.WriteFile(path, devices[i], 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, blob.DeviceSize); err != nil {
			t.Fatal(err)
		}
		options = append(options, "device="+path)
	}
	source, mnt := filepath.Join(dir, "image.boot"), filepath.Join(dir, "mnt")
	if err := errors.Join(os.WriteFile(source, boot, 0o600), os.Mkdir(mnt, 0o700)); err != nil {
		t.Fatal(err)
	}
	err := unix.Mount(source, mnt, "erofs", unix.MS_RDONLY, strings.Join(options, ","))
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOTBLK) || errors.Is(err, unix.EPERM) {
		t.Skipf("this kernel does not mount EROFS images from files: %v", err)
	}
	if err != nil {
		t.Fatalf("mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mnt, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return mnt
}

func describe(im *Image, in *Inode) (string, error) {
	xattrs, err := im.Xattrs(in)
	if err != nil {
		return "", err
	}
	target := ""
	if in.IsSymlink() {
		if target, err = im.Readlink(in); err != nil {
			return "", err
		}
	}
	line := fmt.Sprintf("%o %d:%d %d bytes %d links at %d, device %d:%d -> %q", in.Mode, in.UID, in.GID, in.Size, in.Links,
		in.ModTime.UnixNano(), in.Major, in.Minor, target)
	for _, x := range xattrs {
		line += fmt.Sprintf(" %s=%x", x.Name, x.Value)
	}
	return line, nil
}

func shown(t *testing.T, path string) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatalf("lstat %s: %v", path, err)
	}
	target := ""
	if st.Mode&unix.S_IFMT == format.ModeSymlink {
		target, _ = os.Readlink(path)
	}
	line := fmt.Sprintf("%o %d:%d %d bytes %d links at %d, device %d:%d -> %q", st.Mode, st.Uid, st.Gid, st.Size, st.Nlink,
		st.Mtim.Nano(), unix.Major(st.Rdev), unix.Minor(st.Rdev), target)
	names := make([]byte, 4096)
	n, err := unix.Llistxattr(path, names)
	if err != nil {
		t.Fatalf("xattrs of %s: %v", path, err)
	}
	value := make([]byte, 4096)
	for _, name := range strings.Split(string(names[:n]), "\x00") {
		if name == "" {
			continue
		}
		k, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			t.Fatalf("xattr %s of %s: %v", name, path, err)
		}
		line += fmt.Sprintf(" %s=%x", name, value[:k])
	}
	return line
}
