package layer

import (
	"context"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
)

// Options are what Unpack must be told beside the bytes.
type Options struct {
	// Bottom says that the layer has no parent. containerd then mounts no overlay, so a
	// whiteout removes what the archive itself brought before it, and leaves no mark.
	Bottom bool
}

// Result is what a layer turned out to be.
type Result struct {
	// DiffID is the sha256 of the uncompressed archive, trailing bytes included.
	// The caller compares it with the image's config before it uses the directory.
	DiffID digest.Digest
	// Bytes is the length of the uncompressed archive.
	Bytes int64
	// Files counts the archive's entries, whiteouts too.
	Files int
	// Implicit names the directories that the archive needs but does not describe as a
	// parent would have them, parents first. It is for Settle, which knows the notation.
	// Empty for a bottom layer.
	Implicit []string
}

// Unpack reads the compressed layer r to its end and unpacks it into dir, an empty
// directory that nobody else writes to. Whiteouts become those of overlayfs. It needs
// root: owners, devices and trusted attributes are set.
//
// mediaType decides as in containerd: a plain tar type is taken as it is, any other
// layer type is gzip, zstd or nothing by its first bytes.
//
// After an error dir holds a part of the layer and is only good for removal. Classes:
// ErrInvalidArgument for an archive that cannot be unpacked (the entry is named),
// ErrDataLoss for a broken or cut compressed stream, ErrNotImplemented for a media or
// entry type that containerd does not unpack either, ErrResourceExhausted for a full
// disk. The error of r's Read, or of ctx, is returned wrapped.
//
// Unpack stops when ctx ends, but waits for a Read of r that is under way: r must be
// a reader that ends with ctx, too. Nothing runs on after it returned.
func Unpack(ctx context.Context, r io.Reader, mediaType, dir string, o Options) (Result, error) {
	tree, err := openTree(dir)
	if err != nil {
		return Result{}, fmt.Errorf("unpack layer: %w", err)
	}
	defer tree.close()
	archive, err := Open(ctx, r, mediaType)
	if err != nil {
		return Result{}, fmt.Errorf("unpack layer: %w", err)
	}
	defer archive.Close()
	a := applier{ctx: archive.pipe.ctx, tree: tree, bottom: o.Bottom}
	if err := a.apply(archive); err != nil {
		return Result{}, fmt.Errorf("unpack layer: %w", err)
	}
	sum, size, err := archive.Finish()
	if err != nil {
		return Result{}, fmt.Errorf("unpack layer: %w", err)
	}
	res := Result{DiffID: sum, Bytes: size, Files: a.entries}
	if !o.Bottom {
		res.Implicit = tree.implicit()
	}
	return res, nil
}
