// Package disk gives a benchmark a file system of its own: a fresh ext4 with a journal,
// as most nodes have. What others did on the machine's own file system does not slow it
// down (an ext4 without a journal searches for inodes that were not freed in the last
// minutes, which can double the CPU time of an unpack), and it goes at once.
package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Tools are the programs that New runs.
func Tools() []string { return []string{"losetup", "mkfs.ext4"} }

// prefix begins the names of images and mount points; the pid of the program that made
// them follows.
const prefix = "darter-bench-disk-"

// Disk is a mounted file system in a sparse file.
type Disk struct {
	Dir   string // where it is mounted
	image string
}

// New makes and mounts a file system that can grow to size bytes, in a folder, after it
// removed those of dead programs. It needs root. The caller closes it.
func New(ctx context.Context, folder string, size int64) (_ *Disk, err error) {
	removeDead(folder)
	d := &Disk{Dir: filepath.Join(folder, fmt.Sprintf("%s%d", prefix, os.Getpid()))}
	d.image = d.Dir + ".ext4"
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("disk: %w", err), d.Close())
		}
	}()
	if err := sparse(d.image, size); err != nil {
		return nil, err
	}
	// Nothing is left to be initialized behind the benchmark's back.
	if _, err := run(ctx, "mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1", d.image); err != nil {
		return nil, err
	}
	device, err := run(ctx, "losetup", "--direct-io=on", "--find", "--show", d.image)
	if err != nil {
		return nil, err
	}
	err = os.Mkdir(d.Dir, 0o755)
	if err == nil {
		err = unix.Mount(device, d.Dir, "ext4", 0, "noinit_itable")
	}
	_, derr := run(context.WithoutCancel(ctx), "losetup", "--detach", device) // when it is unmounted
	return d, errors.Join(err, derr)
}

// Close unmounts and removes the file system.
func (d *Disk) Close() error {
	err := unix.Unmount(d.Dir, 0)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) { // it is not mounted
		err = nil
	}
	if err != nil {
		return fmt.Errorf("disk: unmount %s: %w", d.Dir, err)
	}
	return errors.Join(remove(d.Dir), remove(d.image))
}

func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// removeDead removes file systems whose program was killed before it could.
func removeDead(folder string) {
	images, _ := filepath.Glob(filepath.Join(folder, prefix+"*.ext4")) // the pattern is good
	for _, image := range images {
		dir := strings.TrimSuffix(image, ".ext4")
		if _, err := os.Stat("/proc/" + strings.TrimPrefix(filepath.Base(dir), prefix)); errors.Is(err, fs.ErrNotExist) {
			_ = (&Disk{Dir: dir, image: image}).Close() // the next one tries again
		}
	}
}

func sparse(path string, size int64) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(file.Truncate(size), file.Close())
}

func run(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, text)
	}
	return text, nil
}
