package image

import (
	"bytes"
	"io"
	"slices"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func TestCraft(t *testing.T) {
	one, err := Pack(Gzip, Dir("a", 0o755), File("a/b", 0o644, "x"), HardLink("a/c", "a/b"))
	if err != nil {
		t.Fatal(err)
	}
	two, err := Pack("", Whiteout("a/b"), Opaque("a"), Link("l", "../../etc"))
	if err != nil {
		t.Fatal(err)
	}
	one.Annotations = map[string]string{"k": "v"}
	image, err := Crafted{Layers: []CraftedLayer{one, two, one}, Cmd: []string{"/x"}, Annotations: map[string]string{"m": "w"}}.Image()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Layers) != 3 || manifest.Layers[0].Digest != manifest.Layers[2].Digest || manifest.Layers[0].Annotations["k"] != "v" || manifest.Annotations["m"] != "w" {
		t.Errorf("manifest %+v", manifest)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if want := []v1.Hash{one.Diff, two.Diff, one.Diff}; !slices.Equal(config.RootFS.DiffIDs, want) || config.Config.Cmd[0] != "/x" {
		t.Errorf("config %+v", config)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []CraftedLayer{one, two, one} {
		content, err := layers[i].Compressed()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(content); !bytes.Equal(got, want.Blob) || err != nil {
			t.Errorf("layer %d: %d bytes, %v; want %d", i, len(got), err, len(want.Blob))
		}
	}
	two.Diff = one.Diff // a lie is kept
	wrong, err := Crafted{Layers: []CraftedLayer{two}}.Image()
	if err != nil {
		t.Fatal(err)
	}
	if config, err = wrong.ConfigFile(); err != nil || config.RootFS.DiffIDs[0] != one.Diff {
		t.Errorf("config %+v, %v", config, err)
	}
}

func TestPackKnowsItsCompressions(t *testing.T) {
	if _, err := Pack("lzma"); err == nil {
		t.Error("lzma passes")
	}
	if l, err := Pack(Zstd, File("a", 0o644, "x")); err != nil || len(l.Blob) == 0 {
		t.Errorf("%d bytes, %v", len(l.Blob), err)
	}
}
