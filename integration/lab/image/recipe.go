// Package image builds OCI images of a given size and number of layers from the
// machine's own files: real content, no download. What has been built stays in a
// cache, so that runs on one machine compare the same bytes.
package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"runtime"
)

// Compression of a layer.
type Compression string

const (
	Gzip Compression = "gzip"
	Zstd Compression = "zstd"
)

// Recipe says what image to build. The same recipe on a machine whose files did
// not change gives the same image, byte for byte.
type Recipe struct {
	// Layers is the number of layers, 2 to 127. The last is tiny: a whiteout, an
	// opaque folder and a file.
	Layers int
	// Bytes is the size of the compressed layers together. The image is as large
	// within some hundred KiB per layer.
	Bytes       int64
	Compression Compression
	// Salt makes images with otherwise equal recipes differ in every layer.
	Salt string
}

// format changes when the same recipe gives another image.
const format = 2

// weights are the sizes of the layers but the last, in turn: a large base, a
// small package, a run time, and so on, as images have them.
var weights = []int64{30, 6, 25, 20, 12, 7}

// Validate reports whether the recipe can be built.
func (r Recipe) Validate() error {
	switch {
	case r.Layers < 2 || r.Layers > 127:
		return fmt.Errorf("image recipe: %d layers, want 2 to 127", r.Layers)
	case r.Bytes < int64(r.Layers)<<17:
		return fmt.Errorf("image recipe: %d bytes, want at least 128 KiB per layer", r.Bytes)
	case r.Compression != Gzip && r.Compression != Zstd:
		return fmt.Errorf("image recipe: compression %q, want gzip or zstd", r.Compression)
	}
	return nil
}

// sizes returns how large each layer but the last shall be.
func (r Recipe) sizes() []int64 {
	var sum int64
	for i := range r.Layers - 1 {
		sum += weights[i%len(weights)]
	}
	sizes := make([]int64, r.Layers-1)
	for i := range sizes {
		sizes[i] = r.Bytes * weights[i%len(weights)] / sum
	}
	return sizes
}

// key names the recipe's image in the cache.
func (r Recipe) key() string {
	text, err := json.Marshal(struct {
		Recipe
		Format int
		Arch   string
	}{r, format, runtime.GOARCH})
	if err != nil {
		panic(err) // strings and numbers
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}
