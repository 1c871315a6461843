package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/darter-p2p/darter/plugin/layer/layertest"
)

// site is a directory to unpack into with things around it that nobody may touch.
type site struct {
	dir    string // the layer's
	around string
	before []string
}

func newSite(t testing.TB) *site {
	t.Helper()
	root := t.TempDir()
	s := &site{dir: filepath.Join(root, "layer"), around: filepath.Join(root, "outside")}
	for _, d := range []string{s.dir, filepath.Join(s.around, "dir")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"victim", "dir/inner"} {
		if err := os.WriteFile(filepath.Join(s.around, f), []byte("untouched"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{"dir/inner", "dir", "victim", "."} {
		if err := os.Chtimes(filepath.Join(s.around, p), layertest.Old, layertest.Old); err != nil {
			t.Fatal(err)
		}
	}
	s.before = s.look(t)
	return s
}

// look lists what is around. Times of access are the listing's own.
func (s *site) look(t testing.TB) []string {
	t.Helper()
	lines := look(t, s.around, time.Now().Add(time.Hour))
	for i, l := range lines {
		if a, b := strings.Index(l, " atime="), strings.Index(l, " xattrs="); a >= 0 && a < b {
			l = l[:a] + l[b:]
			if k := strings.Index(lines[i], " links="); k >= 0 {
				l = lines[i][:a] + lines[i][k:]
			}
			lines[i] = l
		}
	}
	return lines
}

// check fails if anything around has changed, or is beside it.
func (s *site) check(t testing.TB) {
	t.Helper()
	if after := s.look(t); !slices.Equal(s.before, after) {
		t.Errorf("outside changed:\n%s\nwas:\n%s", strings.Join(after, "\n"), strings.Join(s.before, "\n"))
	}
	names, err := os.ReadDir(filepath.Dir(s.dir))
	if err != nil || len(names) != 2 {
		t.Errorf("beside the layer: %v, %v", names, err)
	}
}

// TestAttacks unpacks what tries to get out, or is malformed. Where the error is nil the
// tree must be containerd's; where there is one, containerd must refuse it, too.
func TestAttacks(t *testing.T) {
	needRoot(t)
	deep := strings.Repeat("d/", 2040)
	for _, c := range []struct {
		name    string
		entries []entry
		err     error
	}{
		{"dot-dot", []entry{file("../outside/victim", "x"), file("a/../../outside/victim", "x")}, nil},
		{"absolute", []entry{file("/outside/victim", "x"), file("//etc//passwd", "x")}, nil},
		{"the root itself", []entry{dir("..", 0o777), dir("/", 0o777), dir(".", 0o777), file("..", "x"), file("a/..", "x")}, nil},
		{"absolute symlink", []entry{symlink("l", "/outside"), file("l/victim", "x")}, nil},
		{"relative symlink", []entry{symlink("l", "../outside"), file("l/victim", "x")}, nil},
		{"links through links", []entry{symlink("a", ".."), symlink("b", "a/../.."), symlink("c", "b/outside"), file("c/victim", "x"), file("a/b/c/victim", "y")}, nil},
		{"link chain and dot-dot", []entry{dir("x/y", 0o755), symlink("a", "b"), symlink("b", "/x/y"), symlink("c", "a/.."), file("c/file", "x")}, nil},
		{"symlink as name", []entry{symlink("l", "../outside/victim"), file("l", "x")}, nil},
		{"symlink loop", []entry{symlink("a", "b"), symlink("b", "a"), file("a/x", "x")}, errdefs.ErrInvalidArgument},
		{"many links", append(chain(300), file("l0/x", "x")), errdefs.ErrInvalidArgument},
		{"hard link outside", []entry{hardlink("l", "../outside/victim")}, errdefs.ErrInvalidArgument},
		{"hard link absolute", []entry{hardlink("l", "/etc/passwd")}, errdefs.ErrInvalidArgument},
		{"hard link through symlink", []entry{symlink("s", "../outside"), hardlink("l", "s/victim")}, errdefs.ErrInvalidArgument},
		{"hard link to symlink", []entry{symlink("s", "../outside/victim"), hardlink("l", "s").Perm(0o777).Owned(1, 2), file("l/x", "x")}, nil},
		{"write through hard-linked symlink", []entry{symlink("s", "../outside/victim"), hardlink("l", "s").Perm(0o777).Owned(1, 2), file("l", "x")}, nil},
		{"hard link to directory", []entry{dir("d", 0o755), hardlink("l", "d")}, errdefs.ErrInvalidArgument},
		{"hard link to root", []entry{hardlink("l", "..")}, errdefs.ErrInvalidArgument},
		{"hard link to nothing", []entry{hardlink("l", "")}, errdefs.ErrInvalidArgument},
		{"hard link to itself", []entry{file("l", "x"), hardlink("l", "l")}, errdefs.ErrInvalidArgument},
		{"devices inside", []entry{device("d/mem", tar.TypeChar, 1, 1), device("blk", tar.TypeBlock, 7, 0), file("d/mem", "a file now")}, nil},
		{"device outside", []entry{symlink("l", "../outside"), device("l/dev", tar.TypeChar, 1, 1)}, nil},
		{"write into a device", []entry{device("mem", tar.TypeChar, 1, 1), file("mem/x", "x")}, errdefs.ErrInvalidArgument},
		{"file replaces directory symlink", []entry{symlink("l", "../outside/dir"), file("l", "x"), file("l2", "x"), dir("l", 0o700), file("l/inner", "x")}, nil},
		{"symlink replaces directory", []entry{dir("d", 0o755), file("d/inner", "x"), symlink("d", "../outside/dir"), file("d/inner", "x"), file("d/new", "x")}, nil},
		{"times through replaced directory", []entry{dir("d", 0o755).At(time.Unix(5, 0)), symlink("d", "../outside")}, errdefs.ErrInvalidArgument},
		{"file as parent", []entry{file("f", "x"), file("f/x", "x")}, errdefs.ErrInvalidArgument},
		{"whiteout of dot-dot", []entry{file(".wh...", "")}, errdefs.ErrInvalidArgument},
		{"whiteout of dot", []entry{file("a/.wh..", "")}, errdefs.ErrInvalidArgument},
		{"whiteout of nothing", []entry{file("a/.wh.", "")}, errdefs.ErrInvalidArgument},
		{"whiteout through symlink", []entry{symlink("l", "../outside"), file("l/.wh.victim", ""), file("l/dir/.wh..wh..opq", "")}, nil},
		{"whiteout twice", []entry{file(".wh.a", ""), file(".wh.a", "")}, errdefs.ErrInvalidArgument},
		{"whiteout of what is there", []entry{file("a", "x"), file(".wh.a", "")}, errdefs.ErrInvalidArgument},
		{"whiteout, then a file", []entry{file(".wh.a", ""), file("a", "x")}, nil},
		{"opaque root", []entry{file(".wh..wh..opq", ""), file("../.wh..wh..opq", "")}, nil},
		{"opaque oddities", []entry{file(".wh..wh.opq", ""), dir(".wh..wh..opq/", 0o700), symlink("d/.wh..wh..opq", "/outside"), file(".wh..wh..opq.x", "")}, nil},
		{"below a whiteout", []entry{file(".wh.a", ""), file(".wh.a/x", "x")}, nil},
		{"inside what a whiteout made", []entry{file(".wh.a", ""), file("a/x", "x")}, errdefs.ErrInvalidArgument},
		{"device number", []entry{device("d", tar.TypeChar, 1<<33, 1)}, errdefs.ErrInvalidArgument},
		{"unknown type", []entry{{Header: tar.Header{Name: "x", Typeflag: tar.TypeCont}}}, errdefs.ErrNotImplemented},
		{"long name", []entry{file(strings.Repeat("n", 256), "x")}, errdefs.ErrInvalidArgument},
		{"deep", []entry{file(strings.Repeat("d/", 300)+"f", "x")}, nil},
		{"too deep", []entry{file(deep+"f", "x"), dir(deep+deep, 0o755)}, errdefs.ErrInvalidArgument},
		{"bad attribute", []entry{file("f", "x").With(map[string]string{"no-namespace": "x"})}, nil},
		{"bad capability", []entry{file("f", "x").With(map[string]string{"security.capability": "short"})}, errdefs.ErrInvalidArgument},
		{"own names", []entry{file("\u202e\n\t\xff", "x"), file("a\\b", "x"), file("...", "x"), file(" ", "x")}, nil},
	} {
		t.Run(c.name, func(t *testing.T) { attack(t, archiveOf(t, c.entries...), c.err) })
	}
}

func attack(t *testing.T, archive []byte, want error) {
	t.Helper()
	s := newSite(t)
	res, err := Unpack(t.Context(), bytes.NewReader(archive), typeTar, s.dir, Options{})
	s.check(t)
	if !errors.Is(err, want) {
		t.Errorf("error is %v, want %v", err, want)
	}
	// An empty layer below makes containerd mount an overlay.
	below := blob{typeTar, archiveOf(t)}
	dirs, _, theirs := oracle(t.Context(), t.TempDir(), []blob{below, {typeTar, archive}})
	if (err == nil) != (theirs == nil) {
		t.Fatalf("we say %v, containerd %v", err, theirs)
	}
	if err != nil {
		t.Logf("%v", err)
		return
	}
	start := time.Now().Add(-10 * time.Minute)
	if err := Settle(t.Context(), s.dir, res.Implicit, []string{t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	compare(t, "tree", look(t, s.dir, start), look(t, dirs[1], start))
}

func chain(n int) (links []entry) {
	for i := range n {
		links = append(links, symlink(fmt.Sprintf("l%d", i), fmt.Sprintf("l%d", i+1)))
	}
	return links
}

// TestDamaged gives streams that are not what they say.
func TestDamaged(t *testing.T) {
	needRoot(t)
	good := archiveOf(t, dir("d", 0o755), file("d/f", strings.Repeat("content ", 100000)))
	flipped := gzipped(t, good)
	flipped[len(flipped)/2] ^= 0xff
	negative := archiveOf(t, file("f", "x"))
	copy(negative[124:136], "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
	checksum(negative[:512])
	huge := archiveOf(t, file("f", "x"))
	copy(huge[124:136], "\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff")
	checksum(huge[:512])
	nul := bytes.Clone(archiveOf(t, file("a-name", "x")))
	nul[0] = 0
	checksum(nul[:512])
	window := []byte("\x28\xb5\x2f\xfd\x00\xa0\x01\x00\x00") // a frame of nothing that asks for 1 GiB
	for _, c := range []struct {
		name, mediaType string
		bytes           []byte
		err             error
	}{
		{"no layer", "application/json", good, errdefs.ErrNotImplemented},
		{"cut tar", typeTar, good[:5000], errdefs.ErrInvalidArgument},
		{"cut header", typeTar, good[:100], errdefs.ErrInvalidArgument},
		{"cut between entries", typeTar, good[:512], nil},
		{"empty", typeTar, nil, nil},
		{"empty, said to be gzip", typeGzip, nil, nil},
		{"gzip of nothing", typeGzip, gzipped(t, nil), nil},
		{"noise", typeTar, bytes.Repeat([]byte("noise"), 1000), errdefs.ErrInvalidArgument},
		{"cut gzip", typeGzip, gzipped(t, good)[:300], errdefs.ErrDataLoss},
		{"gzip without its end", typeGzip, gzipped(t, good)[:len(gzipped(t, good))-4], errdefs.ErrDataLoss},
		{"flipped gzip", typeGzip, flipped, errdefs.ErrDataLoss},
		{"cut zstd", typeZstd, zstded(t, good)[:20], errdefs.ErrDataLoss},
		{"zstd said to be gzip", typeGzip, zstded(t, good), nil},
		{"gzip said to be tar", typeTar, gzipped(t, good), errdefs.ErrInvalidArgument},
		{"trailing bytes in tar", typeTar, append(bytes.Clone(good), "after the end"...), nil},
		{"gzip of two members", typeGzip, append(gzipped(t, good[:2000]), gzipped(t, good[2000:])...), nil},
		{"gzip and noise", typeGzip, append(gzipped(t, good), "noise"...), errdefs.ErrDataLoss},
		{"zstd of two frames", typeZstd, append(zstded(t, good[:2000]), zstded(t, good[2000:])...), nil},
		{"zstd, skippable first", typeZstd, append([]byte("\x50\x2a\x4d\x18\x04\x00\x00\x00skip"), zstded(t, good)...), nil},
		{"zstd and noise", typeZstd, append(zstded(t, good), "noise"...), errdefs.ErrDataLoss},
		{"zstd window", typeZstd, window, errdefs.ErrResourceExhausted},
		{"negative size", typeTar, negative, errdefs.ErrInvalidArgument},
		{"huge size", typeTar, huge, errdefs.ErrInvalidArgument},
		{"name begins with NUL", typeTar, nul, nil},
		{"sparse of exabytes", typeTar, sparseArchive(t, 1<<62), errdefs.ErrResourceExhausted},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			res, err := Unpack(t.Context(), bytes.NewReader(c.bytes), c.mediaType, s.dir, Options{})
			s.check(t)
			if !errors.Is(err, c.err) {
				t.Fatalf("error is %v, want %v", err, c.err)
			}
			if c.name == "sparse of exabytes" || c.name == "zstd window" {
				return // containerd would fill the disk, or the memory
			}
			_, descs, theirs := oracle(t.Context(), t.TempDir(), []blob{{typeTar, nil}, {c.mediaType, c.bytes}})
			if (err == nil) != (theirs == nil) {
				t.Fatalf("we say %v, containerd %v", err, theirs)
			}
			if err == nil && (res.DiffID != descs[1].Digest || res.Bytes != descs[1].Size) {
				t.Errorf("%s, %d bytes; containerd has %s, %d", res.DiffID, res.Bytes, descs[1].Digest, descs[1].Size)
			}
		})
	}
}

// checksum makes a changed tar header valid again.
func checksum(b []byte) {
	copy(b[148:156], "        ")
	var sum int
	for _, c := range b[:512] {
		sum += int(c)
	}
	copy(b[148:156], fmt.Sprintf("%06o\x00 ", sum))
}

// sparseArchive is a file of that size with nothing but a hole.
func sparseArchive(t testing.TB, size int64) []byte {
	t.Helper()
	records := ""
	for _, kv := range []string{
		"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=hole", fmt.Sprintf("GNU.sparse.realsize=%d", size),
	} {
		n := len(kv) + 3
		for len(fmt.Sprint(n))+len(kv)+2 != n {
			n = len(fmt.Sprint(n)) + len(kv) + 2
		}
		records += fmt.Sprintf("%d %s\n", n, kv)
	}
	body := "1\n" + fmt.Sprintf("%d\n0\n", size)
	body += strings.Repeat("\x00", 512-len(body))
	b := archiveOf(t, file("PaxHeaders/hole", records), file("hole", body))
	b[156] = tar.TypeXHeader
	checksum(b[:512])
	return b
}

// TestBomb unpacks a long run of zeros out of few bytes: memory must not grow with it.
func TestBomb(t *testing.T) {
	needRoot(t)
	const size = 64 << 20
	var packed bytes.Buffer
	zw, err := zstd.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(zw)
	if err := w.WriteHeader(&tar.Header{Name: "zeros", Typeflag: tar.TypeReg, Size: size, Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(w, zeros{}, size); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), zw.Close()); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Unpack(t.Context(), bytes.NewReader(packed.Bytes()), typeZstd, t.TempDir(), Options{}); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 24<<20 {
		t.Errorf("%d bytes of memory for a bomb of %d packed bytes", got, packed.Len())
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestSourceFails keeps the source's own error and its class.
func TestSourceFails(t *testing.T) {
	needRoot(t)
	gone := fmt.Errorf("peer went away: %w", errdefs.ErrUnavailable)
	b := gzipped(t, archiveOf(t, file("f", strings.Repeat("x", 1<<20))))
	for _, n := range []int{0, 5, len(b) / 2, len(b)} {
		r := io.MultiReader(bytes.NewReader(b[:n]), iotest.ErrReader(gone))
		_, err := Unpack(t.Context(), r, typeGzip, t.TempDir(), Options{})
		if !errors.Is(err, errdefs.ErrUnavailable) || errdefs.IsDataLoss(err) || errdefs.IsInvalidArgument(err) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

// TestCancel ends an unpack in the middle. goleak sees what is left running.
func TestCancel(t *testing.T) {
	needRoot(t)
	b := archiveOf(t, file("f", strings.Repeat("x", 8<<20)), file("g", "x"))
	t.Run("while reading", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		pr, pw := io.Pipe()
		stop := context.AfterFunc(ctx, func() { pw.CloseWithError(ctx.Err()) })
		defer stop()
		go func() {
			pw.Write(b[:4<<20]) //nolint:errcheck // the reader goes away
			cancel()
		}()
		if _, err := Unpack(ctx, pr, typeTar, t.TempDir(), Options{}); !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("before", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := Unpack(ctx, bytes.NewReader(b), typeTar, t.TempDir(), Options{}); !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("in a hole", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err := Unpack(ctx, bytes.NewReader(sparseArchive(t, freeBytes(t)/2)), typeTar, t.TempDir(), Options{})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v", err)
		}
	})
}

func freeBytes(t *testing.T) int64 {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(t.TempDir(), &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Bavail) * st.Bsize
}

// TestFull fills a small file system.
func TestFull(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("needs to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	b := archiveOf(t, file("f", strings.Repeat("x", 4<<20)))
	_, err := Unpack(t.Context(), bytes.NewReader(b), typeTar, dir, Options{})
	if !errdefs.IsResourceExhausted(err) || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("error is %v", err)
	}
}
