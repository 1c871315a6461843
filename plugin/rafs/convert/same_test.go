package convert

import (
	"archive/tar"
	"fmt"
	"strings"
	"testing"
	"time"
)

// capability is cap_net_raw=ep as the kernel stores it.
const capability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// oddities are layers, the lowest first, with everything that a merge can get wrong.
func oddities(t testing.TB) [][]byte {
	t.Helper()
	ns := time.Date(2022, 1, 2, 3, 4, 5, 123456789, time.UTC)
	long := strings.Repeat("long-directory-name/", 20) + strings.Repeat("f", 200)
	var many []entry
	for i := range 3000 {
		many = append(many, file(fmt.Sprintf("many/%06d", i*7919%100000), fmt.Sprint(i%10)))
	}
	bottom := append(many,
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
		symlink("up", "etc/../../usr"),
		file("up/from-up", "4"),
		symlink("relative/deep/link", "../near"),
		file("relative/deep/link/file", "5"),
		file("bin/su", "setuid").mode(0o4755),
		file("bin/wall", "setgid").mode(0o2755).owned(0, 5),
		file("bin/ping", "caps").mode(0o755).with(map[string]string{"security.capability": capability}),
		hardlink("bin/ping2", "bin/ping").mode(0o755),
		symlink("bin/sh", "dash").owned(9, 10).with(map[string]string{"user.on.link": "ignored"}),
		hardlink("bin/sh2", "bin/sh"),
		hardlink("lib/ping3", "/bin/ping").mode(0o711).owned(1, 2),
		symlink("longlink", strings.Repeat("x", 4000)),
		symlink("longestlink", strings.Repeat("y/", 2047)),
		device("dev/null", tar.TypeChar, 1, 3).mode(0o666),
		device("dev/sda", tar.TypeBlock, 8, 0).mode(0o660),
		device("dev/large", tar.TypeBlock, 4000, 1000000).mode(0o660),
		device("dev/fifo", tar.TypeFifo, 0, 0).mode(0o600),
		device("dev/zero00", tar.TypeChar, 0, 0),
		file("no-mode", "x").owned(4294967294, 4294967294),
		file(long, "long"),
		file("ancient", "").at(time.Unix(-5, 0)),
		file("future", "").at(time.Date(2500, 1, 1, 0, 0, 0, 0, time.UTC)),
		file("after 2038", "").at(time.Date(2100, 1, 1, 0, 0, 0, 5, time.UTC)),
		file("odd \n\x01\xff\\name", "odd"),
		file(strings.Repeat("n", 255), "longest name"),
		file("-dash", ""), file("!bang", ""), file(".dot", ""), file("..two", ""),
		file("one", "x"), file("block", strings.Repeat("b", 4096)), file("block and one", strings.Repeat("c", 4097)),
		file("zeros", strings.Repeat("\x00", 3<<20+5)),
		file("large", strings.Repeat("0123456789abcdef", 300_000)),
		file("attributes", "x").with(map[string]string{
			"user.large": strings.Repeat("v", 3000), "user.empty": "", "user.a": "1", "security.other": "s", "bogus.name": "ignored"}),
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
		file("../climbs/../up2", "stays"),
		file("/rooted", "x"),
		file("opaque-root/.wh..wh..opq", ""),
		file("shadow/a/b/c/file", "x"),
		dir("lists/", 0o755),
		file("lists/1", "x"), file("lists/2", "x"),
		file("becomes/dir", "file below"), dir("becomes/file", 0o755), file("becomes/file/x", "1"),
		file("links/a", "linked"), hardlink("links/b", "links/a"), hardlink("links/c", "links/a"),
	)
	middle := []entry{
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
		dir("becomes/dir", 0o755), file("becomes/dir/x", "2"), file("becomes/file", "a directory below"),
		file("links/.wh.b", ""),
		file("large", strings.Repeat("0123456789abcdef", 300_000)+"and more"),
		device("etc/group", tar.TypeChar, 0, 0),
	}
	top := []entry{
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
		file("links/c", "no link any more"),
		file("many/.wh.000000", ""),
	}
	return [][]byte{archiveOf(t, bottom...), archiveOf(t, middle...), archiveOf(t, top...)}
}

func TestSameAsOverlay(t *testing.T) {
	for _, size := range []int{64 << 10, 1 << 20} {
		t.Run(fmt.Sprint(size>>10), func(t *testing.T) { same(t, oddities(t), Options{ChunkSize: size}) })
	}
	t.Run("one layer", func(t *testing.T) { same(t, oddities(t)[:1], Options{}) })
}

// TestHiddenBelow has a directory that comes back where a layer between had removed it.
func TestHiddenBelow(t *testing.T) {
	same(t, [][]byte{
		archiveOf(t, dir("a", 0o700), dir("a/b", 0o750).owned(1, 2), file("a/b/f", "x"), dir("o", 0o711), dir("o/p", 0o700), file("o/p/f", "x")),
		archiveOf(t, file("o/.wh..wh..opq", ""), file("o/p/g", "y")),
		archiveOf(t, file("o/p/h", "z")),
	}, Options{})
}

// TestRemovedBetween has a directory that one layer removes and the next implies.
// containerd fails to unpack that; the image is as overlayfs would have it.
func TestRemovedBetween(t *testing.T) {
	files := readBack(t, converted(t, [][]byte{
		archiveOf(t, dir("a", 0o700), dir("a/b", 0o750).owned(1, 2), file("a/b/f", "x")),
		archiveOf(t, file(".wh.a", "")),
		archiveOf(t, file("a/b/g", "y")),
	}, Options{}))
	if len(files) != 4 || !strings.HasPrefix(files["a/b"], "mode=40755 owner=0:0") || files["a/b/g"] == "" {
		t.Errorf("%q", files)
	}
}
