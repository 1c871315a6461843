package containerd

import (
	"archive/tar"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/darter-p2p/darter/integration/lab"
	"github.com/darter-p2p/darter/integration/lab/image"
)

// pack makes a layer.
func pack(t *testing.T, c image.Compression, entries ...image.Entry) image.CraftedLayer {
	t.Helper()
	l, err := image.Pack(c, entries...)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// craft puts layers over one of Busybox, so that a container can run.
func craft(t *testing.T, layers ...image.CraftedLayer) image.Crafted {
	t.Helper()
	base, err := image.Busybox()
	if err != nil {
		t.Skip(err)
	}
	return image.Crafted{Layers: append([]image.CraftedLayer{base}, layers...), Cmd: []string{"/bin/sleep", "100000"}}
}

// push puts a crafted image into the registry.
func push(t *testing.T, registry *lab.Registry, c image.Crafted, repositoryTag string) lab.Image {
	t.Helper()
	source, err := c.Image()
	if err != nil {
		t.Fatal(err)
	}
	pushed, err := registry.Push(t.Context(), source, repositoryTag)
	if err != nil {
		t.Fatal(err)
	}
	return pushed
}

// with changes the header of an entry.
func with(e image.Entry, change func(*tar.Header)) image.Entry {
	change(&e.Header)
	return e
}

// unlike makes a layer whose digest no other has.
func unlike(t *testing.T, mark string) image.CraftedLayer {
	return pack(t, image.Gzip, image.File("mark", 0o644, mark))
}

// odd are layers with all that tars can hold, in every compression.
func odd(t *testing.T, mark string) []image.CraftedLayer {
	attributes := func(h *tar.Header) {
		h.PAXRecords = map[string]string{"SCHILY.xattr.user.colour": "red", "SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}
	}
	device := tar.Header{Typeflag: tar.TypeChar, Name: "odd/null", Mode: 0o666, Devmajor: 1, Devminor: 3}
	fifo := tar.Header{Typeflag: tar.TypeFifo, Name: "odd/fifo", Mode: 0o620, Uid: 7}
	return []image.CraftedLayer{
		pack(t, image.Gzip,
			image.Dir("odd", 0o2751), image.Dir("full", 0o755), image.File("full/below", 0o644, "below"),
			image.File("full/deep/below", 0o600, "below"),
			image.File("odd/gone", 0o644, "gone"), image.File("odd/kept", 0o644, "kept by "+mark), image.HardLink("odd/kept.2", "odd/kept"),
			image.File("odd/setuid", 0o4755, "s"), with(image.File("odd/owned", 0o640, "o"), func(h *tar.Header) { h.Uid, h.Gid = 1234, 70000 }),
			with(image.File("odd/attributes", 0o755, "a"), attributes),
			image.Entry{Header: device}, image.Entry{Header: fifo},
			image.File("odd/"+strings.Repeat("n", 200)+"/"+strings.Repeat("m", 200), 0o644, "long"),
			image.Link("odd/dangling", "../../../outside"), image.File("becomes-dir", 0o644, "file"), image.Dir("becomes-file", 0o755),
			image.File("becomes-file/inner", 0o644, "inner")),
		pack(t, image.Zstd, image.Whiteout("odd/gone"), image.Opaque("full"), image.File("full/above", 0o644, "above"),
			image.Dir("becomes-dir", 0o700), image.File("becomes-dir/x", 0o644, "x"), image.File("becomes-file", 0o644, "now a file")),
		// odd has no entry of its own here: its mode and time are those of the layer below.
		pack(t, "", image.File("odd/late", 0o644, "late"), image.File("full/deep/again", 0o644, "again"), image.HardLink("odd/late.2", "odd/late")),
		pack(t, image.Gzip), // a tar without an entry
	}
}

// emptyBlob is a layer of no byte at all.
func emptyBlob(t *testing.T) image.CraftedLayer {
	t.Helper()
	l, err := image.Compress("", nil)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// wrongDiff is a layer of which the config lies.
func wrongDiff(t *testing.T) image.CraftedLayer {
	l := pack(t, image.Gzip, image.File("wrong", 0o644, "wrong"))
	l.Diff = v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("ab", 32)}
	return l
}

// corrupt breaks a layer's compressed bytes in the middle; its digest is that of the broken ones.
func corrupt(t *testing.T) image.CraftedLayer {
	l := pack(t, image.Gzip, image.File("corrupt", 0o644, strings.Repeat("some text that is compressed\n", 1000)))
	l.Blob[len(l.Blob)/2] ^= 0xff
	return l
}
