package layer

import (
	"archive/tar"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// capability is cap_net_raw=ep as the kernel stores it.
var capability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// oddities are layers, the lowest first, with everything that an unpack can get wrong.
func oddities(t testing.TB) [][]byte {
	t.Helper()
	ns := time.Date(2022, 1, 2, 3, 4, 5, 123456789, time.UTC)
	long := strings.Repeat("long-directory-name/", 20) + strings.Repeat("f", 200)
	bottom := archiveOf(t,
		entry{tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}}, ""},
		dir("./", 0o700),
		dir("etc/", 0o755),
		file("etc/passwd", "root\n").at(ns),
		dir("tmp/", 0o1777),
		dir("group/", 0o2775).owned(3, 4).at(ns),
		dir("group/kept/", 0o2750).owned(5, 6).with(map[string]string{"user.note": "a", "user.other": "b"}),
		dir("attr/", 0o711).owned(7, 8).with(map[string]string{"user.note": "below"}),
		dir("usr/lib/", 0o755),
		symlink("lib", "usr/lib"),
		symlink("absolute", "/usr/lib"),
		file("lib/through-link", "1"),
		file("absolute/through-absolute", "2"),
		symlink("dangling", "made/by/link"),
		file("dangling/file", "3"),
		file("bin/su", "setuid").mode(0o4755),
		file("bin/wall", "setgid").mode(0o2755).owned(0, 5),
		file("bin/ping", "caps").mode(0o755).with(map[string]string{"security.capability": capability}),
		hardlink("bin/ping2", "bin/ping").mode(0o755),
		symlink("bin/sh", "dash").owned(9, 10).with(map[string]string{"user.on.link": "ignored"}),
		hardlink("bin/sh2", "bin/sh"),
		device("dev/null", tar.TypeChar, 1, 3).mode(0o666),
		device("dev/sda", tar.TypeBlock, 8, 0).mode(0o660),
		device("dev/fifo", tar.TypeFifo, 0, 0).mode(0o600),
		device("dev/zero00", tar.TypeChar, 0, 0),
		file("no-mode", "x").owned(4294967294, 4294967294),
		file(long, "long"),
		file("ancient", "").at(time.Unix(-5, 0)),
		file("future", "").at(time.Date(2500, 1, 1, 0, 0, 0, 0, time.UTC)),
		entry{tar.Header{Name: "atime", Typeflag: tar.TypeReg, ModTime: old, AccessTime: ns, Format: tar.FormatPAX}, "x"},
		entry{tar.Header{Name: "trusted", Typeflag: tar.TypeReg, PAXRecords: map[string]string{
			xattrPrefix + "trusted.overlay.opaque": "y", xattrPrefix + "user.fine": "1"}}, "x"},
		file("twice", "first, and longer"),
		file("twice", "second"),
		dir("replaced/", 0o700),
		file("replaced/child", "gone"),
		file("replaced", "now a file"),
		file("wasfile", "x"),
		dir("wasfile", 0o701),
		symlink("waslink", "/etc"),
		dir("waslink", 0o702),
		file("gone", "x"),
		file(".wh.gone", ""),
		file("keep/implied/file", "x"),
		dir("keep/named/", 0o755),
		file("keep/named/file", "x"),
		file("keep/.wh..wh..opq", ""),
		file("keep/late/file", "x"),
		file("late/dir/file", "x"),
		dir("late/dir/", 0o750),
		file("../climbs/../up", "stays"),
		file("/rooted", "x"),
		file("opaque-root/.wh..wh..opq", ""),
		file("shadow/a/b/c/file", "x"),
		dir("lists/", 0o755),
		file("lists/1", "x"), file("lists/2", "x"),
	)
	middle := archiveOf(t,
		file("etc/motd", "hello"),
		file("etc/.wh.passwd", "").owned(11, 12),
		file("group/new/file", "implied in setgid"),
		file("group/kept/file", "x"),
		file("attr/sub/file", "x"),
		file("late/dir/other", "x"),
		dir("attr/", 0o700).with(map[string]string{"user.mine": "1"}),
		file("lists/.wh..wh..opq", ""),
		file("lists/3", "x"),
		file("tmp/.wh..wh..opq", ""),
		file(".wh..wh..opq", ""),
		file(".wh..wh.plnk", ""),
		file(".wh.never-there", ""),
		file("lib/other", "a directory here, a link below"),
		file("rooted/below", "a file below"),
		hardlink("late/link", "late/dir/other"),
		file("deep/a/.wh.x", ""),
	)
	top := archiveOf(t,
		file("attr/sub/more", "x"),
		file("lib/again", "x"),
		file("deep/a/b", "x"),
		file("shadow/a/.wh.b", ""),
		file("etc/alternatives/.wh..wh..opq", ""),
		symlink("loop", "loop"),
		file("usr/lib/.wh.through-link", ""),
		dir("tmp/", 0o1777),
		file("group/new/deeper/file", "x"),
		file("group/other/deeper/file", "implied, unknown below"),
	)
	return [][]byte{bottom, middle, top}
}

func TestSameAsContainerdOddities(t *testing.T) {
	for _, c := range []struct {
		name string
		pack func([]byte) blob
	}{
		{"tar", func(b []byte) blob { return blob{typeTar, b} }},
		{"gzip", func(b []byte) blob { return blob{typeGzip, gzipped(t, b)} }},
		{"zstd", func(b []byte) blob { return blob{typeZstd, zstded(t, b)} }},
		{"docker", func(b []byte) blob { return blob{"application/vnd.docker.image.rootfs.diff.tar", gzipped(t, b)} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var layers []blob
			for _, b := range oddities(t) {
				layers = append(layers, c.pack(b))
			}
			sameAsContainerd(t, layers)
		})
	}
}

// TestSameAsContainerdReal uses this machine's own system, packed by GNU tar.
func TestSameAsContainerdReal(t *testing.T) {
	realTrees(t,
		[]string{"etc", "usr/bin/passwd", "usr/bin/su", "usr/bin/chage", "usr/share/zoneinfo"},
		[]string{"./src/net", "./src/cmd/go", "./lib"})
}

// TestStressSameAsContainerd takes all of it.
func TestStressSameAsContainerd(t *testing.T) {
	needStress(t)
	realTrees(t, []string{"etc", "usr/bin", "usr/lib/python3", "usr/share", "var/lib/dpkg"}, []string{"."})
}

// realTrees stacks parts of the system and of the Go distribution.
func realTrees(t *testing.T, system, golang []string) {
	needRoot(t)
	first := packed(t, "/", append([]string{"--format=gnu"}, system...)...)
	second := packed(t, goRoot(t), append([]string{"--format=pax", "--xattrs", "--xattrs-include=*"}, golang...)...)
	more := packed(t, "/", "--format=pax", "--no-recursion", "etc/passwd", "usr/share/zoneinfo/UTC", "usr/bin/env")
	odd := oddities(t)
	sameAsContainerd(t, []blob{
		{typeGzip, gzipped(t, first)}, {typeZstd, zstded(t, second)}, {typeGzip, gzipped(t, more)},
		{typeTar, odd[1]}, {typeGzip, gzipped(t, odd[2])},
	})
}

// TestSameAsContainerdSparse has what GNU tar makes of files with holes, and a socket,
// which no archive can hold.
func TestSameAsContainerdSparse(t *testing.T) {
	needRoot(t)
	src := t.TempDir()
	for name, at := range map[string][]int64{"end": {0, 10 << 20}, "none": nil, "many": {1 << 20, 3 << 20, 5<<20 + 7}} {
		f, err := os.Create(filepath.Join(src, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, off := range at {
			if _, err := f.WriteAt([]byte("data"), off); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Truncate(20<<20 + 1); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	for _, version := range []string{"0.0", "0.1", "1.0"} {
		t.Run(version, func(t *testing.T) {
			b := packed(t, src, "--format=pax", "--sparse", "--sparse-version="+version, ".")
			if len(b) > 1<<20 {
				t.Fatalf("the archive is not sparse: %d bytes", len(b))
			}
			sameAsContainerd(t, []blob{{typeGzip, gzipped(t, b)}})
		})
	}
}

// packed runs GNU tar. Files may change meanwhile, which tar says by status 1.
func packed(t testing.TB, dir string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "tar", append([]string{"-C", dir, "-cf", "-"}, args...)...)
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) {
		t.Fatalf("tar %v: %v", args, err)
	}
	return out
}

// goRoot is where the Go distribution lies.
func goRoot(t testing.TB) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatalf("go env: %v", err)
	}
	return strings.TrimSpace(string(out))
}
