package convert

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/plugin/layer/layertest"
)

// FuzzLayers makes two valid archives out of a few words, so that the fuzzer's changes
// are changes of meaning, and compares what comes out of the image with an overlay of
// the unpacked layers.
func FuzzLayers(f *testing.F) {
	if os.Geteuid() != 0 {
		f.Skip("needs root: mounts overlays")
	}
	f.Add([]byte("\x00\x00\x01\x02\x01\x02\x03\x04"), []byte("\x02\x00\x04\x0b"))
	f.Add([]byte("\x01\x00\x06\x04\x00\x00\x02\x04\x00\x06\x01\x05"), []byte("\x03\x00\x07\x00\x00\x00\x09\x00"))
	f.Add([]byte("\x00\x00\x01\x00\x00\x0c\x02\x00"), []byte("\x00\x00\x09\x00\x00\x0c\x03\x00"))
	f.Fuzz(func(t *testing.T, lower, upper []byte) {
		if len(lower)+len(upper) > 4*40 {
			return
		}
		layers := [][]byte{archiveOf(t, layertest.Entries(lower)...), archiveOf(t, layertest.Entries(upper)...)}
		start := time.Now().Add(-time.Second)
		mnt, their := tryOverlay(t, layers)
		img, err := Convert(t.Context(), []Layer{layerOf(layers[0]), layerOf(layers[1])}, t.TempDir(), Options{Workers: 1})
		if errors.Is(their, errSettle) {
			return // convert need not fail
		}
		if (err == nil) != (their == nil) {
			t.Fatalf("convert says %v, unpacking %v", err, their)
		}
		if err != nil {
			if !errdefs.IsInvalidArgument(err) && !errdefs.IsNotImplemented(err) {
				t.Errorf("error without its class: %v", err)
			}
			return
		}
		compare(t, readBack(t, img), look(t, mnt, start))
	})
}
