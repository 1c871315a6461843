package layertest

import (
	"archive/tar"
	"strings"
	"time"
)

// Capability is cap_net_raw=ep as the kernel stores it.
const Capability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// Oddities are layers, the lowest first, with everything that an unpack can get wrong.
func Oddities() [3][]Entry {
	ns := time.Date(2022, 1, 2, 3, 4, 5, 123456789, time.UTC)
	long := strings.Repeat("long-directory-name/", 20) + strings.Repeat("f", 200)
	bottom := []Entry{
		{Header: tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}}},
		Dir("./", 0o700),
		Dir("etc/", 0o755),
		File("etc/passwd", "root\n").At(ns),
		Dir("tmp/", 0o1777),
		Dir("group/", 0o2775).Owned(3, 4).At(ns),
		Dir("group/kept/", 0o2750).Owned(5, 6).With(map[string]string{"user.note": "a", "user.other": "b"}),
		Dir("attr/", 0o711).Owned(7, 8).With(map[string]string{"user.note": "below"}),
		Dir("usr/lib/", 0o755),
		Symlink("lib", "usr/lib"),
		Symlink("absolute", "/usr/lib"),
		File("lib/through-link", "1"),
		File("absolute/through-absolute", "2"),
		Symlink("dangling", "made/by/link"),
		File("dangling/file", "3"),
		File("bin/su", "setuid").Perm(0o4755),
		File("bin/wall", "setgid").Perm(0o2755).Owned(0, 5),
		File("bin/ping", "caps").Perm(0o755).With(map[string]string{"security.capability": Capability}),
		Hardlink("bin/ping2", "bin/ping").Perm(0o755),
		Symlink("bin/sh", "dash").Owned(9, 10).With(map[string]string{"user.on.link": "ignored"}),
		Hardlink("bin/sh2", "bin/sh"),
		Device("dev/null", tar.TypeChar, 1, 3).Perm(0o666),
		Device("dev/sda", tar.TypeBlock, 8, 0).Perm(0o660),
		Device("dev/fifo", tar.TypeFifo, 0, 0).Perm(0o600),
		Device("dev/zero00", tar.TypeChar, 0, 0),
		File("no-mode", "x").Owned(4294967294, 4294967294),
		File(long, "long"),
		File("ancient", "").At(time.Unix(-5, 0)),
		File("future", "").At(time.Date(2500, 1, 1, 0, 0, 0, 0, time.UTC)),
		File("trusted", "x").With(map[string]string{"trusted.overlay.opaque": "y", "user.fine": "1"}),
		File("twice", "first, and longer"),
		File("twice", "second"),
		Dir("replaced/", 0o700),
		File("replaced/child", "gone"),
		File("replaced", "now a file"),
		File("wasfile", "x"),
		Dir("wasfile", 0o701),
		Symlink("waslink", "/etc"),
		Dir("waslink", 0o702),
		File("gone", "x"),
		File(".wh.gone", ""),
		File("keep/implied/file", "x"),
		Dir("keep/named/", 0o755),
		File("keep/named/file", "x"),
		File("keep/.wh..wh..opq", ""),
		File("keep/late/file", "x"),
		File("late/dir/file", "x"),
		Dir("late/dir/", 0o750),
		File("../climbs/../above", "stays"),
		File("/rooted", "x"),
		File("opaque-root/.wh..wh..opq", ""),
		File("shadow/a/b/c/file", "x"),
		Dir("lists/", 0o755),
		File("lists/1", "x"), File("lists/2", "x"),
	}
	middle := []Entry{
		File("etc/motd", "hello"),
		File("etc/.wh.passwd", "").Owned(11, 12),
		File("group/new/file", "implied in setgid"),
		File("group/kept/file", "x"),
		File("attr/sub/file", "x"),
		File("late/dir/other", "x"),
		Dir("attr/", 0o700).With(map[string]string{"user.mine": "1"}),
		File("lists/.wh..wh..opq", ""),
		File("lists/3", "x"),
		File("tmp/.wh..wh..opq", ""),
		File(".wh..wh..opq", ""),
		File(".wh..wh.plnk", ""),
		File(".wh.never-there", ""),
		File("lib/other", "a directory here, a link below"),
		File("rooted/below", "a file below"),
		Hardlink("late/link", "late/dir/other"),
		File("deep/a/.wh.x", ""),
	}
	top := []Entry{
		File("attr/sub/more", "x"),
		File("lib/again", "x"),
		File("deep/a/b", "x"),
		File("shadow/a/.wh.b", ""),
		File("etc/alternatives/.wh..wh..opq", ""),
		Symlink("loop", "loop"),
		File("usr/lib/.wh.through-link", ""),
		Dir("tmp/", 0o1777),
		File("group/new/deeper/file", "x"),
		File("group/other/deeper/file", "implied, unknown below"),
	}
	return [3][]Entry{bottom, middle, top}
}
