package containerd

import (
	"archive/tar"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/darter-p2p/darter/integration/lab"
	"github.com/darter-p2p/darter/integration/lab/image"
	"github.com/darter-p2p/darter/integration/lab/rootfs"
)

// TestDoorOddImages pulls images that are unusual and right.
func TestDoorOddImages(t *testing.T) {
	s := newDoorSystem(t, lab.SystemOptions{Nodes: 1})
	node := s.Nodes[0]
	var many []image.CraftedLayer
	for i := range 79 {
		many = append(many, pack(t, image.Gzip, image.File(fmt.Sprintf("many/%d", i), 0o644, "x"), image.File("many/last", 0o644, fmt.Sprint(i))))
	}
	once := unlike(t, "twice")
	for name, c := range map[string]struct {
		layers []image.CraftedLayer
		same   []image.CraftedLayer // make the same root file system, where overlayfs cannot pull the image
	}{
		// containerd itself refuses to fetch "content size of zero".
		"a layer of no byte":   {layers: []image.CraftedLayer{unlike(t, "no byte"), emptyBlob(t), unlike(t, "above")}, same: []image.CraftedLayer{unlike(t, "above")}},
		"a layer twice":        {layers: []image.CraftedLayer{once, unlike(t, "between"), once}},
		"a layer twice in row": {layers: []image.CraftedLayer{once, once}},
		"80 layers":            {layers: many},
	} {
		t.Run(name, func(t *testing.T) {
			tag := "lab/odd:" + strings.ReplaceAll(name, " ", "-")
			pushed := s.push(t, craft(t, c.layers...), tag)
			same := pushed
			if c.same != nil {
				same = s.push(t, craft(t, c.same...), tag+"-same")
			}
			if err := node.Pull(t.Context(), lab.Ctr, pushed.Ref); err != nil {
				t.Fatal(err)
			}
			wantFetched(t, node.Containerd, lab.Ctr, pushed, 0)
			wantRootfs(t, node.Containerd, lab.Ctr, pushed, s.right(t, same))
		})
	}
	wantEmptyDoor(t, node.Containerd)
}

// TestDoorWrongImages pulls images that lie or attack. Each must fail as it does with
// overlayfs, or be right, and nothing outside of the layers may be touched.
func TestDoorWrongImages(t *testing.T) {
	s := newDoorSystem(t, lab.SystemOptions{Nodes: 1, DoorExtra: forgetSoon})
	node := s.Nodes[0]
	// What an image that climbs out would aim at: beside the door, and at its root.
	sentinel := filepath.Join(node.Host.Data, "sentinel")
	if err := os.MkdirAll(filepath.Join(sentinel, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(sentinel, "file"), []byte("untouched"), 0o644); err != nil {
		t.Fatal(err)
	}
	before, err := rootfs.Read(sentinel)
	if err != nil {
		t.Fatal(err)
	}
	up := strings.Repeat("../", 20)
	other := push(t, s.Registry, craft(t, unlike(t, "the other image's")), "lab/other:1")
	for name, c := range map[string]struct {
		layers      []image.CraftedLayer
		annotations map[string]string
	}{
		"wrong diffID": {layers: []image.CraftedLayer{unlike(t, "1"), wrongDiff(t), unlike(t, "2")}},
		"corrupt gzip": {layers: []image.CraftedLayer{unlike(t, "3"), corrupt(t), unlike(t, "4")}},
		"name with dots": {layers: []image.CraftedLayer{pack(t, image.Gzip, image.File(up+sentinel+"/file", 0o644, "changed"),
			image.File("x/../../../y", 0o644, "y"))}},
		"absolute name": {layers: []image.CraftedLayer{pack(t, image.Gzip, image.File(sentinel+"/file", 0o644, "changed"))}},
		"link out": {layers: []image.CraftedLayer{pack(t, image.Gzip, image.Link("out", sentinel), image.File("out/file", 0o644, "changed"),
			image.Link("rel", up+sentinel), image.Link("rel2", "rel"), image.File("rel2/dir/new", 0o644, "new"))}},
		"link out below": {layers: []image.CraftedLayer{pack(t, image.Gzip, image.Link("out", sentinel)), pack(t, image.Gzip, image.File("out/file", 0o644, "changed"))}},
		"hard link out":  {layers: []image.CraftedLayer{pack(t, image.Gzip, image.HardLink("stolen", up+sentinel+"/file"))}},
		"whiteout out":   {layers: []image.CraftedLayer{pack(t, image.Gzip, image.File(up+sentinel+"/.wh.file", 0o644, ""))}},
		"device out": {layers: []image.CraftedLayer{pack(t, image.Gzip, image.Link("out", sentinel),
			image.Entry{Header: tar.Header{Typeflag: tar.TypeChar, Name: "out/device", Mode: 0o666, Devmajor: 1, Devminor: 3}})}},
		"forged annotations": {layers: []image.CraftedLayer{forged(t, other)}, annotations: forgedAnnotations(other)},
	} {
		t.Run(name, func(t *testing.T) {
			crafted := craft(t, c.layers...)
			crafted.Annotations = c.annotations
			pushed := s.push(t, crafted, "lab/wrong:"+strings.ReplaceAll(strings.ToLower(name), " ", "-"))
			wrong := s.plain.Pull(t.Context(), lab.Ctr, pushed.Ref)
			err := node.Pull(t.Context(), lab.Ctr, pushed.Ref)
			t.Logf("by the door: %s; by overlayfs: %s", lastLine(err), lastLine(wrong))
			if (err != nil) != (wrong != nil) {
				t.Errorf("by the door: %v; by overlayfs: %v", err, wrong)
			}
			if err == nil && wrong == nil {
				wantRootfs(t, node.Containerd, lab.Ctr, pushed, s.right(t, pushed))
			}
			after, readErr := rootfs.Read(sentinel)
			if readErr != nil {
				t.Fatal(readErr)
			}
			if err := rootfs.Compare(after, before); err != nil {
				t.Fatalf("outside of the layers:\n%v", err)
			}
		})
	}
	if err := node.Collect(t.Context()); err != nil {
		t.Error(err)
	}
	wantEmptyDoor(t, node.Containerd)
}

// forgedAnnotations are those by which containerd tells a snapshotter what a layer
// is, with another image's digests.
func forgedAnnotations(other lab.Image) map[string]string {
	a := map[string]string{"containerd.io/snapshot/cri.image-ref": other.Ref}
	for _, blob := range other.Blobs {
		switch blob.Kind {
		case "manifest":
			a["containerd.io/snapshot/cri.manifest-digest"] = blob.Digest.String()
		case "layer":
			a["containerd.io/snapshot/cri.layer-digest"] = blob.Digest.String()
			a["containerd.io/snapshot/cri.image-layers"] = blob.Digest.String()
		}
	}
	return a
}

// forged is a layer whose descriptor has such annotations.
func forged(t *testing.T, other lab.Image) image.CraftedLayer {
	l := unlike(t, "forged")
	l.Annotations = forgedAnnotations(other)
	return l
}
