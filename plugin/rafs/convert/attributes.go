package convert

import (
	"archive/tar"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/darter-p2p/darter/plugin/rafs/format"
)

// xattrPrefix is what PAX records of extended attributes begin with.
const xattrPrefix = "SCHILY.xattr."

// attributes gives a node what its entry says.
func (a *applier) attributes(n *node, hdr *tar.Header) error {
	if hdr.Uid != -1 { // which chown leaves as it is
		n.uid = uint32(hdr.Uid)
	}
	if hdr.Gid != -1 {
		n.gid = uint32(hdr.Gid)
	}
	if !n.isDir() { // a change of owner drops it; only a second entry for a file meets one
		n.xattrs = slices.DeleteFunc(n.xattrs, func(x format.Xattr) bool { return x.Name == "security.capability" })
	}
	if !n.isLink() {
		n.mode = n.mode&format.ModeType | uint16(hdr.Mode&0o7777)
	}
	n.seconds, n.nanos = timeOf(hdr)
	for _, record := range slices.Sorted(maps.Keys(hdr.PAXRecords)) {
		key, ok := strings.CutPrefix(record, xattrPrefix)
		if !ok || !n.takes(key) {
			continue
		}
		value := hdr.PAXRecords[record]
		if err := a.budget.take(0, len(key)+len(value)); err != nil {
			return err
		}
		n.xattr(strings.Clone(key), []byte(value))
	}
	if _, err := format.XattrCount(n.xattrs); err != nil {
		return fmt.Errorf("extended attributes: %w", err)
	}
	return nil
}

// takes reports whether an inode can have an extended attribute of an archive. Left out
// is what an archive must not say (trusted.*), user.* on what cannot have it, and what
// Linux or EROFS have no name for.
func (n *node) takes(key string) bool {
	switch key {
	case "system.posix_acl_access":
		return !n.isLink()
	case "system.posix_acl_default":
		return n.isDir()
	}
	if rest, ok := strings.CutPrefix(key, "user."); ok {
		return rest != "" && (n.isFile() || n.isDir())
	}
	rest, ok := strings.CutPrefix(key, "security.")
	return ok && rest != ""
}

// timeOf returns the entry's time of modification, as it comes out of a file system:
// the epoch for what is before it or past the year 2262.
func timeOf(hdr *tar.Header) (seconds int64, nanos uint32) {
	t := hdr.ModTime
	if t.Before(time.Unix(0, 0)) || t.After(time.Unix(0, math.MaxInt64)) {
		return 0, 0
	}
	return t.Unix(), uint32(t.Nanosecond())
}

// deviceOf returns the numbers of a device entry as an inode holds them.
func deviceOf(hdr *tar.Header) (uint32, error) {
	major, minor := hdr.Devmajor, hdr.Devminor
	if major < 0 || major >= 1<<12 || minor < 0 || minor >= 1<<20 {
		return 0, fmt.Errorf("device number %d:%d: %w", major, minor, unix.EINVAL)
	}
	return format.DeviceUnion(uint32(major), uint32(minor)), nil
}

// shown cuts a name down to what a message can bear.
func shown(name string) string {
	const most = 256
	if len(name) > most {
		return name[:most] + "…"
	}
	return name
}
