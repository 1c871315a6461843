package convert

import (
	"bytes"
	"context"
	"io"
	"os/exec"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/plugin/layer/layertest"
)

// The tests' words for what layertest has.
type entry = layertest.Entry

var (
	archiveOf, gzipped = layertest.Archive, layertest.Gzipped

	file, dir, symlink, hardlink, device = layertest.File, layertest.Dir, layertest.Symlink, layertest.Hardlink, layertest.Device
)

const typeTar, typeGzip = layertest.TypeTar, layertest.TypeGzip

// layerOf is an uncompressed layer in memory.
func layerOf(b []byte) Layer {
	return Layer{MediaType: typeTar, DiffID: digest.FromBytes(b), Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(b)), nil
	}}
}

// packedTree is a directory as GNU tar packs it.
func packedTree(t testing.TB, dir string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "tar", append([]string{"-C", dir, "-cf", "-"}, args...)...)
	out, err := cmd.Output()
	if err != nil && len(out) == 0 { // files may change meanwhile, which is a status, too
		t.Fatalf("tar %v: %v", args, err)
	}
	return out
}
