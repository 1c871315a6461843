package convert

import (
	"archive/tar"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

// words are what FuzzLayers makes names of.
var words = []string{"a", "b", "c", "d", "..", ".", "", ".wh.a", ".wh.b", ".wh..wh..opq", "/", "../outside", "a/b", ".wh."}

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
		layers := [][]byte{archiveOf(t, entriesOf(lower)...), archiveOf(t, entriesOf(upper)...)}
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

// entriesOf reads four bytes an entry: type, two words of the name, the link's target.
func entriesOf(program []byte) []entry {
	word := func(b byte) string { return words[int(b)%len(words)] }
	var all []entry
	for ; len(program) >= 4; program = program[4:] {
		name, target := word(program[1]), word(program[3])
		if w := word(program[2]); w != "" {
			name += "/" + w
		}
		if program[0]%6 != 1 { // archive/tar writes the slash of directories only
			name = strings.TrimRight(name, "/")
		}
		if name == "" || name == "/" {
			name = "."
		}
		var e entry
		switch program[0] % 6 {
		case 0:
			e = file(name, target)
		case 1:
			e = dir(name, 0o750)
		case 2:
			e = symlink(name, target+"/"+word(program[0]/6))
		case 3:
			e = hardlink(name, target+"/"+word(program[0]/6))
		case 4:
			e = device(name, tar.TypeFifo, 0, 0)
		case 5:
			e = device(name, tar.TypeChar, 0, 0)
		}
		all = append(all, e)
	}
	return all
}
