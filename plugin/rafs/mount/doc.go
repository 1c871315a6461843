// Package mount mounts EROFS images whose data lies in other files, and finds out how
// this machine can: from the files themselves, through loop devices, or not at all.
package mount

import (
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Mode is how images are mounted.
type Mode string

const (
	// FileBacked takes the files as they are: Linux 6.12 and later.
	FileBacked Mode = "file-backed"
	// Loop puts a read-only loop device before each file.
	Loop Mode = "loop"
	// Refused mounts nothing.
	Refused Mode = "refused"
)

// Method is what Probe found out.
type Method struct {
	Mode Mode
	// DirectIO says that EROFS can read its devices past their page cache, which saves a
	// copy of each page and time.
	DirectIO bool
	// Reason says in words why the mode is not FileBacked.
	Reason string
}

// Image is what to mount: the paths of a bootstrap and of its devices in the order of
// the bootstrap's table.
type Image struct {
	Bootstrap string
	Devices   []string
}

// Mount mounts an image at dir, read-only. It is ErrFailedPrecondition where the machine
// cannot, with the kernel's own words where it has some.
func (m Method) Mount(img Image, dir string) error {
	switch m.Mode {
	case FileBacked:
		return m.mount(img, dir)
	case Loop:
		return m.mountLoop(img, dir)
	}
	return fmt.Errorf("mount EROFS: %s: %w", m.Reason, errdefs.ErrFailedPrecondition)
}

// mount mounts by fsconfig(2): mount(2) takes one page of options, which many devices
// do not fit into.
func (m Method) mount(img Image, dir string) error {
	fs, err := unix.Fsopen("erofs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("mount EROFS: fsopen: %w: %w", err, errdefs.ErrFailedPrecondition)
	}
	defer unix.Close(fs) //nolint:errcheck // only read from
	set := func(key, value string) {
		if err == nil {
			err = unix.FsconfigSetString(fs, key, value)
		}
	}
	set("source", img.Bootstrap)
	for _, d := range img.Devices {
		set("device", d)
	}
	if err == nil {
		err = unix.FsconfigSetFlag(fs, "ro")
	}
	if err == nil && m.DirectIO {
		err = unix.FsconfigSetFlag(fs, "directio")
	}
	if err == nil {
		err = unix.FsconfigCreate(fs)
	}
	if err != nil {
		return fmt.Errorf("mount EROFS at %s: %w: %w", dir, withWords(fs, err), errdefs.ErrFailedPrecondition)
	}
	mnt, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY)
	if err != nil {
		return fmt.Errorf("mount EROFS at %s: fsmount: %w: %w", dir, err, errdefs.ErrFailedPrecondition)
	}
	defer unix.Close(mnt) //nolint:errcheck // the mount has its place, or goes away
	if err := unix.MoveMount(mnt, "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount EROFS at %s: move: %w: %w", dir, err, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// withWords adds what the kernel says about a refusal, if anything.
func withWords(fs int, err error) error {
	var words []string
	b := make([]byte, 512)
	for range 16 {
		n, rerr := unix.Read(fs, b)
		if rerr != nil || n <= 0 {
			break
		}
		if line := strings.TrimSpace(string(b[:n])); strings.HasPrefix(line, "e ") {
			words = append(words, strings.TrimPrefix(line, "e "))
		}
	}
	if len(words) == 0 {
		return err
	}
	return fmt.Errorf("%w (%s)", err, strings.Join(words, "; "))
}

// Unmount takes away every mount at dir. One that is in use goes away with its last
// user. Where nothing is mounted, nothing happens.
func Unmount(dir string) error {
	for range 64 {
		err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		switch {
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
			return nil
		case err != nil:
			return fmt.Errorf("unmount %s: %w", dir, err)
		}
	}
	return fmt.Errorf("unmount %s: more than 64 mounts: %w", dir, errdefs.ErrInternal)
}

// IsMounted reports whether EROFS is mounted at dir, and answers.
func IsMounted(dir string) bool {
	var at, above unix.Stat_t
	var fs unix.Statfs_t
	if unix.Stat(dir, &at) != nil || unix.Stat(dir+"/..", &above) != nil || unix.Statfs(dir, &fs) != nil {
		return false
	}
	return at.Dev != above.Dev && fs.Type == unix.EROFS_SUPER_MAGIC_V1
}
