package server

import (
	"sync"
	"sync/atomic"

	"github.com/darter-p2p/darter/plugin/rafs"
)

// Bounds of a wish: a table that names everything would leave nothing for readers.
const (
	wishChunks = 4096
	wishBytes  = 128 << 20 // compressed
)

// wish is what the builder of an image thought is read first: its prefetch table, in
// parts. It is safe for concurrent use.
type wish struct {
	over atomic.Bool // nothing is left

	mu    sync.Mutex
	image *rafs.Image
	begun bool
	left  []rafs.ChunkRef
}

func newWish(im *rafs.Image) *wish { return &wish{image: im} }

// take returns the next chunks, all of one blob and at most most compressed bytes unless
// it is one chunk. The first call walks through the image's tree.
func (w *wish) take(most int64) (blob int, chunks []int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.begun {
		w.begun, w.left = true, w.first()
	}
	var size int64
	for _, ref := range w.left {
		n := w.bytes(ref)
		if len(chunks) > 0 && (ref.Blob != blob || size+n > most) {
			break
		}
		blob, size = ref.Blob, size+n
		chunks = append(chunks, ref.Chunk)
	}
	w.left = w.left[len(chunks):]
	w.over.Store(len(w.left) == 0)
	return blob, chunks
}

// first returns what the table names, as far as a wish goes.
func (w *wish) first() []rafs.ChunkRef {
	refs := w.image.Prefetch(wishChunks)
	var size int64
	for i, ref := range refs {
		if size += w.bytes(ref); size > wishBytes {
			return refs[:i]
		}
	}
	return refs
}

func (w *wish) bytes(ref rafs.ChunkRef) int64 {
	return int64(w.image.Blobs()[ref.Blob].Chunks()[ref.Chunk].CompressedSize)
}
