package convert

import (
	"archive/tar"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/darter-p2p/darter/plugin/layer/layertest"
)

// oddities are archives, the lowest first, with everything that a merge can get wrong.
func oddities(t testing.TB) (layers [][]byte) {
	t.Helper()
	entries := layertest.Oddities()
	for i := range 3000 {
		entries[0] = append(entries[0], file(fmt.Sprintf("many/%06d", i*7919%100000), fmt.Sprint(i%10)))
	}
	entries[0] = append(entries[0],
		symlink("up", "etc/../../usr"),
		file("up/from-up", "4"),
		symlink("relative/deep/link", "../near"),
		file("relative/deep/link/file", "5"),
		hardlink("lib/ping3", "/bin/ping").Perm(0o711).Owned(1, 2),
		symlink("longlink", strings.Repeat("x", 4000)),
		symlink("longestlink", strings.Repeat("y/", 2047)),
		device("dev/large", tar.TypeBlock, 4000, 1000000).Perm(0o660),
		file("after 2038", "").At(time.Date(2100, 1, 1, 0, 0, 0, 5, time.UTC)),
		file("odd \n\x01\xff\\name", "odd"),
		file(strings.Repeat("n", 255), "longest name"),
		file("-dash", ""), file("!bang", ""), file(".dot", ""), file("..two", ""),
		file("one", "x"), file("block", strings.Repeat("b", 4096)), file("block and one", strings.Repeat("c", 4097)),
		file("zeros", strings.Repeat("\x00", 3<<20+5)),
		file("large", strings.Repeat("0123456789abcdef", 300_000)),
		file("attributes", "x").With(map[string]string{
			"user.large": strings.Repeat("v", 3000), "user.empty": "", "user.a": "1", "security.other": "s", "bogus.name": "ignored"}),
		file("becomes/dir", "file below"), dir("becomes/file", 0o755), file("becomes/file/x", "1"),
		file("links/a", "linked"), hardlink("links/b", "links/a"), hardlink("links/c", "links/a"),
	)
	entries[1] = append(entries[1],
		dir("becomes/dir", 0o755), file("becomes/dir/x", "2"), file("becomes/file", "a directory below"),
		file("links/.wh.b", ""),
		file("large", strings.Repeat("0123456789abcdef", 300_000)+"and more"),
		device("etc/group", tar.TypeChar, 0, 0),
	)
	entries[2] = append(entries[2],
		file("links/c", "no link any more"),
		file("many/.wh.000000", ""),
	)
	for _, l := range entries {
		layers = append(layers, archiveOf(t, l...))
	}
	return layers
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
		archiveOf(t, dir("a", 0o700), dir("a/b", 0o750).Owned(1, 2), file("a/b/f", "x"), dir("o", 0o711), dir("o/p", 0o700), file("o/p/f", "x")),
		archiveOf(t, file("o/.wh..wh..opq", ""), file("o/p/g", "y")),
		archiveOf(t, file("o/p/h", "z")),
	}, Options{})
}

// TestRemovedBetween has a directory that one layer removes and the next implies.
// containerd fails to unpack that; the image is as overlayfs would have it.
func TestRemovedBetween(t *testing.T) {
	files := readBack(t, converted(t, [][]byte{
		archiveOf(t, dir("a", 0o700), dir("a/b", 0o750).Owned(1, 2), file("a/b/f", "x")),
		archiveOf(t, file(".wh.a", "")),
		archiveOf(t, file("a/b/g", "y")),
	}, Options{}))
	if len(files) != 4 || !strings.HasPrefix(files["a/b"], "mode=40755 owner=0:0") || files["a/b/g"] == "" {
		t.Errorf("%q", files)
	}
}
