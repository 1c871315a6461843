package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// xattrPrefix is what PAX records of extended attributes begin with.
const xattrPrefix = "SCHILY.xattr."

// perm returns the permission bits with setuid, setgid and sticky.
func perm(hdr *tar.Header) uint32 { return uint32(hdr.Mode & 0o7777) }

// attributes gives name, which is not a new regular file, what its entry says. Owner
// first, for a change of owner drops capabilities and setuid; mode after them.
func attributes(fd int, name string, hdr *tar.Header) error {
	if err := unix.Fchownat(fd, name, hdr.Uid, hdr.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("owner %d:%d: %w", hdr.Uid, hdr.Gid, err)
	}
	var st unix.Stat_t
	if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	kind := st.Mode & unix.S_IFMT
	err := eachXattr(hdr, kind == unix.S_IFREG || kind == unix.S_IFDIR, func(key string, value []byte) error {
		return unix.Lsetxattr(inFD(fd, name), key, value, 0)
	})
	if err != nil {
		return err
	}
	if kind != unix.S_IFLNK { // a symbolic link has no mode, and must not be followed
		if err := unix.Fchmodat(fd, name, perm(hdr), 0); err != nil {
			return fmt.Errorf("mode: %w", err)
		}
	}
	return setTimes(fd, name, accessTime(hdr), bound(hdr.ModTime))
}

// fileAttributes does the same for an open regular file, without the times.
func fileAttributes(fd int, hdr *tar.Header) error {
	if err := unix.Fchown(fd, hdr.Uid, hdr.Gid); err != nil {
		return fmt.Errorf("owner %d:%d: %w", hdr.Uid, hdr.Gid, err)
	}
	err := eachXattr(hdr, true, func(key string, value []byte) error {
		return unix.Fsetxattr(fd, key, value, 0)
	})
	if err != nil {
		return err
	}
	if err := unix.Fchmod(fd, perm(hdr)); err != nil {
		return fmt.Errorf("mode: %w", err)
	}
	return nil
}

// eachXattr sets the entry's extended attributes by set. Left out, as by containerd, is
// what an archive must not say (trusted.*), what the file system cannot hold, and user.*
// on what cannot have it.
func eachXattr(hdr *tar.Header, user bool, set func(key string, value []byte) error) error {
	for record, value := range hdr.PAXRecords {
		key, ok := strings.CutPrefix(record, xattrPrefix)
		if !ok || strings.HasPrefix(key, "trusted.") {
			continue
		}
		err := set(key, []byte(value))
		switch {
		case err == nil, errors.Is(err, unix.ENOTSUP):
		case errors.Is(err, unix.EPERM) && strings.HasPrefix(key, "user.") && !user:
		default:
			return fmt.Errorf("extended attribute %q: %w", shown(key), err)
		}
	}
	return nil
}

func setTimes(fd int, name string, atime, mtime time.Time) error {
	ts := []unix.Timespec{unix.NsecToTimespec(atime.UnixNano()), unix.NsecToTimespec(mtime.UnixNano())}
	if err := unix.UtimesNanoAt(fd, name, ts, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("times: %w", err)
	}
	return nil
}

// accessTime is the later of both times: most archives have no access time.
func accessTime(hdr *tar.Header) time.Time {
	if hdr.AccessTime.Before(hdr.ModTime) {
		return bound(hdr.ModTime)
	}
	return bound(hdr.AccessTime)
}

// bound gives the epoch for what is before it, or past what nanoseconds in 64 bits hold
// (the year 2262).
func bound(t time.Time) time.Time {
	epoch := time.Unix(0, 0)
	if t.Before(epoch) || t.After(time.Unix(0, math.MaxInt64)) {
		return epoch
	}
	return t
}
