package layer

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff/apply"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/darter-p2p/darter/plugin/layer/layertest"
)

// blob is a compressed layer.
type blob struct {
	mediaType string
	bytes     []byte
}

// ReaderAt makes a blob the content store of containerd's applier.
func (b blob) ReaderAt(context.Context, ocispec.Descriptor) (content.ReaderAt, error) {
	return readerAt{bytes.NewReader(b.bytes)}, nil
}

type readerAt struct{ *bytes.Reader }

func (readerAt) Close() error { return nil }

// oracle applies layers, the lowest first, as containerd does for its overlay
// snapshotter: a bind mount for the lowest, overlay mounts above.
func oracle(ctx context.Context, root string, layers []blob) (dirs []string, descs []ocispec.Descriptor, err error) {
	for i, b := range layers {
		dir := filepath.Join(root, fmt.Sprint(i), "fs")
		work := filepath.Join(root, fmt.Sprint(i), "work")
		for _, d := range []string{dir, work} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				return nil, nil, err
			}
		}
		mounts := []mount.Mount{{Type: "bind", Source: dir, Options: []string{"rbind", "rw"}}}
		if i > 0 {
			mounts = []mount.Mount{{Type: "overlay", Source: "overlay", Options: []string{
				"workdir=" + work, "upperdir=" + dir, "lowerdir=" + strings.Join(above(dirs), ":"),
			}}}
		}
		d, err := apply.NewFileSystemApplier(b).Apply(ctx, ocispec.Descriptor{
			MediaType: b.mediaType, Size: int64(len(b.bytes)), Digest: digest.FromBytes(b.bytes),
		}, mounts)
		if err != nil {
			return nil, nil, fmt.Errorf("layer %d: %w", i, err)
		}
		dirs, descs = append(dirs, dir), append(descs, d)
	}
	return dirs, descs, nil
}

// above returns directories from the nearest parent on.
func above(dirs []string) []string {
	var r []string
	for i := len(dirs) - 1; i >= 0; i-- {
		r = append(r, dirs[i])
	}
	return r
}

// ours unpacks all layers at once, then settles them from the lowest up.
func ours(ctx context.Context, root string, layers []blob) ([]string, []Result, error) {
	dirs, results, errs := make([]string, len(layers)), make([]Result, len(layers)), make([]error, len(layers))
	var wg sync.WaitGroup
	for i, b := range layers {
		dirs[i] = filepath.Join(root, fmt.Sprint(i))
		if err := os.MkdirAll(dirs[i], 0o755); err != nil {
			return nil, nil, err
		}
		wg.Go(func() {
			results[i], errs[i] = Unpack(ctx, bytes.NewReader(b.bytes), b.mediaType, dirs[i], Options{Bottom: i == 0})
		})
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			return nil, nil, fmt.Errorf("layer %d: %w", i, err)
		}
		if err := Settle(ctx, dirs[i], results[i].Implicit, above(dirs[:i])); err != nil {
			return nil, nil, fmt.Errorf("layer %d: %w", i, err)
		}
	}
	return dirs, results, nil
}

// sameAsContainerd unpacks the layers both ways and compares every file.
func sameAsContainerd(t *testing.T, layers []blob) {
	t.Helper()
	needRoot(t)
	start := time.Now().Add(-time.Second)
	theirDirs, descs, err := oracle(t.Context(), t.TempDir(), layers)
	if err != nil {
		t.Fatalf("containerd: %v", err)
	}
	ourDirs, results, err := ours(t.Context(), t.TempDir(), layers)
	if err != nil {
		t.Fatal(err)
	}
	for i := range layers {
		if results[i].DiffID != descs[i].Digest || results[i].Bytes != descs[i].Size {
			t.Errorf("layer %d: %s, %d bytes; containerd has %s, %d", i,
				results[i].DiffID, results[i].Bytes, descs[i].Digest, descs[i].Size)
		}
		compare(t, fmt.Sprintf("layer %d", i), look(t, ourDirs[i], start), look(t, theirDirs[i], start))
	}
}

// compare reports the first differences between two trees.
func compare(t *testing.T, what string, got, want []string) {
	t.Helper()
	const most = 10
	have := map[string]bool{}
	for _, l := range want {
		have[l] = true
	}
	shown := 0
	for _, l := range got {
		if !have[l] && shown < most {
			t.Errorf("%s: ours        %s", what, l)
			shown++
		}
		delete(have, l)
	}
	for _, l := range want {
		if have[l] && shown < 2*most {
			t.Errorf("%s: containerd's %s", what, l)
			shown++
		}
	}
	if shown == 0 {
		t.Logf("%s: %d files, all the same", what, len(got))
	}
}

// look lists a tree, one line a file with everything that can be seen of it. A time that
// the unpacking itself gave is "now".
func look(t testing.TB, root string, start time.Time) []string {
	t.Helper()
	groups := map[uint64]string{}
	var lines []string
	var walk func(rel string)
	walk = func(rel string) {
		p := filepath.Join(root, rel)
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			t.Fatalf("lstat %s: %v", p, err)
		}
		when := func(ts unix.Timespec) string {
			if at := time.Unix(ts.Unix()); at.Before(start) {
				return fmt.Sprint(at.UnixNano())
			}
			return "now"
		}
		line := fmt.Sprintf("%q mode=%o owner=%d:%d mtime=%s", rel, st.Mode, st.Uid, st.Gid, when(st.Mtim))
		kind := st.Mode & unix.S_IFMT
		if kind != unix.S_IFLNK { // looking at a link changes its time of access
			line += " atime=" + when(st.Atim)
		}
		if kind != unix.S_IFDIR {
			if _, ok := groups[st.Ino]; !ok {
				groups[st.Ino] = rel
			}
			line += fmt.Sprintf(" links=%d same=%q", st.Nlink, groups[st.Ino])
		}
		line += " xattrs=" + layertest.XattrsOf(t, p)
		switch kind {
		case unix.S_IFREG:
			line += fmt.Sprintf(" size=%d sha256=%x", st.Size, layertest.SumOf(t, p))
		case unix.S_IFLNK:
			to, err := os.Readlink(p)
			if err != nil {
				t.Fatal(err)
			}
			line += fmt.Sprintf(" to=%q", to)
		case unix.S_IFCHR, unix.S_IFBLK:
			line += fmt.Sprintf(" device=%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		}
		lines = append(lines, line)
		if kind == unix.S_IFDIR {
			names, err := os.ReadDir(p)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range names {
				walk(filepath.Join(rel, n.Name()))
			}
		}
	}
	walk(".")
	return lines
}
