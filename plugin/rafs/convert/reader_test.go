package convert

import (
	"crypto/sha256"
	"fmt"
	"os"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/darter-p2p/darter/plugin/rafs"
)

// readBack describes an image by package rafs, as look does a mounted tree: no kernel
// is needed.
func readBack(t testing.TB, img *Image) map[string]string {
	t.Helper()
	boot, err := os.ReadFile(img.Bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	im, err := rafs.Open(strings.NewReader(string(boot)), int64(len(boot)), rafs.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	data := newBlobReader(t, im, img)
	found := map[string]string{}
	names := map[uint64][]string{}
	err = im.Walk(func(path string, in *rafs.Inode) error {
		if path = strings.TrimPrefix(path, "/"); path == "" {
			path = "."
		}
		xattrs, err := im.Xattrs(in)
		if err != nil {
			return err
		}
		var list []string
		for _, x := range xattrs {
			list = append(list, fmt.Sprintf("%s=%q", x.Name, x.Value))
		}
		sort.Strings(list)
		when := fmt.Sprint(in.ModTime.UnixNano())
		if path == "." {
			when = ""
		}
		line := fmt.Sprintf("mode=%o owner=%d:%d mtime=%s xattrs=[%s]", in.Mode, in.UID, in.GID, when, strings.Join(list, " "))
		switch {
		case in.IsRegular():
			line += fmt.Sprintf(" size=%d sha256=%x", in.Size, data.sum(in))
		case in.IsSymlink():
			to, err := im.Readlink(in)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" size=%d to=%q", in.Size, to)
		case in.Mode&0o170000 == 0o020000, in.Mode&0o170000 == 0o060000:
			line += fmt.Sprintf(" device=%d:%d", in.Major, in.Minor)
		}
		if !in.IsDir() {
			names[in.Node] = append(names[in.Node], path)
		}
		found[path] = line
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range names {
		sort.Strings(list)
		for _, path := range list {
			if len(list) > 1 {
				found[path] += fmt.Sprintf(" same=%q", list)
			}
		}
	}
	return found
}

// blobReader decodes the chunks of files.
type blobReader struct {
	t     testing.TB
	im    *rafs.Image
	blobs [][]byte
}

func newBlobReader(t testing.TB, im *rafs.Image, img *Image) *blobReader {
	t.Helper()
	r := &blobReader{t: t, im: im}
	if len(im.Blobs()) != len(img.Blobs) {
		t.Fatalf("%d blobs in the bootstrap, %d made", len(im.Blobs()), len(img.Blobs))
	}
	for i, b := range img.Blobs {
		if im.Blobs()[i].ID != b.Digest.Encoded() {
			t.Fatalf("blob %d is %s, in the bootstrap %s", i, b.Digest, im.Blobs()[i].ID)
		}
		data, err := os.ReadFile(b.Path)
		if err != nil {
			t.Fatal(err)
		}
		r.blobs = append(r.blobs, data)
	}
	return r
}

func (r *blobReader) sum(in *rafs.Inode) []byte {
	r.t.Helper()
	h := sha256.New()
	for ref, err := range r.im.ChunksOf(in) {
		if err != nil {
			r.t.Fatal(err)
		}
		blob := r.im.Blobs()[ref.Blob]
		c := blob.Chunks()[ref.Chunk]
		dst := make([]byte, c.Size)
		packed := r.blobs[ref.Blob][c.CompressedOffset:][:c.CompressedSize]
		if err := blob.Decode(ref.Chunk, packed, dst); err != nil {
			r.t.Fatal(err)
		}
		h.Write(dst)
	}
	return h.Sum(nil)
}

// TestReader reads the oddities back without the kernel, and sees that they are the same
// each time and with any number of workers.
func TestReader(t *testing.T) {
	layers := oddities(t)
	first := converted(t, layers, Options{ChunkSize: 64 << 10, Workers: 1})
	files := readBack(t, first)
	if len(files) < 3000 || !strings.Contains(files["large"], "size=4800008") {
		t.Errorf("%d files, large: %s", len(files), files["large"])
	}
	second := converted(t, layers, Options{ChunkSize: 64 << 10, Workers: 5})
	same := slices.EqualFunc(first.Blobs, second.Blobs, func(a, b Blob) bool { return a.Digest == b.Digest })
	if !same || !sameFile(t, first.Bootstrap, second.Bootstrap) {
		t.Error("the same layers gave other bytes")
	}
	// Chunks that a layer below has are not stored again.
	if n := first.Layers[1].Stored; n > 200<<10 {
		t.Errorf("the middle layer stores %d bytes; all but the end of large is in the lowest", n)
	}
}

func sameFile(t testing.TB, a, b string) bool {
	t.Helper()
	x, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(x) == string(y)
}
