package convert

import (
	"fmt"

	"github.com/containerd/errdefs"
)

// Limits bound the memory that an image can ask for. What is over them is refused with
// errdefs.ErrResourceExhausted.
type Limits struct {
	// Inodes is how many files, directories and names all layers may have together.
	Inodes int
	// TextBytes is the length of all names, link targets and extended attributes.
	TextBytes int64
	// Chunks is how many chunks may be stored, all blobs together.
	Chunks int
	// References is how many chunks all files may name, each as often as it is named.
	// With the chunk size it bounds the sum of the files' sizes, holes included.
	References int
}

// DefaultLimits fit images of some millions of files: about 2 GiB of memory at most.
func DefaultLimits() Limits {
	return Limits{Inodes: 4 << 20, TextBytes: 512 << 20, Chunks: 4 << 20, References: 64 << 20}
}

// budget is what is left of the limits.
type budget struct{ left Limits }

// take uses up inodes and bytes of text.
func (b *budget) take(inodes, text int) error {
	if b.left.Inodes -= inodes; b.left.Inodes < 0 {
		return exhausted("files")
	}
	if b.left.TextBytes -= int64(text); b.left.TextBytes < 0 {
		return exhausted("names and attributes")
	}
	return nil
}

// chunk uses up one stored chunk.
func (b *budget) chunk() error {
	if b.left.Chunks--; b.left.Chunks < 0 {
		return exhausted("chunks")
	}
	return nil
}

// reference uses up one chunk of a file.
func (b *budget) reference() error {
	if b.left.References--; b.left.References < 0 {
		return exhausted("chunks of files")
	}
	return nil
}

func exhausted(what string) error {
	return fmt.Errorf("too many %s: %w", what, errdefs.ErrResourceExhausted)
}
