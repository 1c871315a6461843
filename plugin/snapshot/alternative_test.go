package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/containerd/nydus-snapshotter/pkg/converter"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/plugin/rafs/client"
)

// tagged is a registry whose tags all name one index.
type tagged struct {
	*registryOf
	index digest.Digest
	err   error
}

func (t *tagged) Resolve(context.Context, fetcher.Content, string) (fetcher.Descriptor, error) {
	return fetcher.Descriptor{Digest: t.index}, t.err
}

// pair is an ordinary image, a Nydus image of it, and a registry whose index has both.
type pair struct {
	*tagged
	ordinary, nydus *testImage
	index           ocispec.Index
}

func newPair(t *testing.T, change func(*pair)) *pair {
	t.Helper()
	f := newRegistry()
	p := &pair{
		tagged: &tagged{registryOf: f}, ordinary: f.image("app", []string{"a=1", "b=2", "c=3"}, nil),
		nydus: f.nydus("image/image.boot="+readBootstrap(t, "small.boot"), nil),
	}
	platform := ocispec.Platform{OS: "linux", Architecture: "amd64"}
	features := platform
	features.OSFeatures = []string{osFeature}
	p.index = ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{
		{MediaType: ocispec.MediaTypeImageManifest, Digest: p.ordinary.manifest, Platform: &platform},
		{
			MediaType: ocispec.MediaTypeImageManifest, Digest: p.nydus.manifest, Platform: &features,
			Annotations: map[string]string{converter.LayerAnnotationNydusSourceDigest: p.ordinary.manifest.String()},
		},
	}}
	if change != nil {
		change(p)
	}
	b, err := json.Marshal(p.index)
	if err != nil {
		t.Fatal(err)
	}
	p.tagged.index = f.put(b)
	return p
}

// open opens a door that prefers Nydus images of this registry.
func (p *pair) open(t *testing.T, root string, m *mounter, prefer ...string) *Door {
	t.Helper()
	cfg := testConfig(root)
	cfg.PreferNydus = prefer
	o := Options{Fetcher: p.registryOf, Unpacker: p.registryOf, Resolver: p.tagged}
	if m != nil {
		o.Mounter = m
	}
	return openDoorWith(t, cfg, o)
}

// fetched is how many of an image's layers were asked for.
func (p *pair) fetched(m *testImage) (n int) {
	for _, b := range m.blobs {
		if p.count(b.Digest) > 0 {
			n++
		}
	}
	return n
}

// see returns the files of the lower directories of a new container above parent, by
// the nearest, and a RAFS mount as "rafs".
func see(t *testing.T, d *Door, key, parent string) (all []string) {
	t.Helper()
	mounts, err := d.Prepare(t.Context(), "default/1/"+key, parent)
	if err != nil {
		t.Fatal(err)
	}
	again, err := d.Mounts(t.Context(), "default/1/"+key)
	if err != nil || !slices.Equal(lowerOf(t, again), lowerOf(t, mounts)) {
		t.Errorf("Mounts says %v, %v; Prepare said %v", again, err, mounts)
	}
	for _, dir := range lowerOf(t, mounts) {
		if filepath.Base(filepath.Dir(dir)) == "rafs" {
			all = append(all, "rafs")
			continue
		}
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			all = append(all, f.Name())
		}
	}
	return all
}

func want(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s sees %q, want %q", what, got, want)
	}
}

// The Nydus image beside an ordinary one stands for it: no layer is fetched, and its
// containers are on the mount.
func TestNydusStandsForAnImage(t *testing.T) {
	p, m := newPair(t, nil), newMounter()
	d := p.open(t, t.TempDir(), m, "registry.example/app")
	names := p.ordinary.pull(t.Context(), t, d)
	want(t, "a container", see(t, d, "one", names[2]), "rafs")
	if n := p.fetched(p.ordinary); n != 0 || p.count(smallBlob) != 0 {
		t.Errorf("%d layers were fetched", n)
	}
	if r := m.only(t); r.Repository != "app" || !slices.Equal(r.Blobs, []digest.Digest{smallBlob}) {
		t.Errorf("mounted %+v", r)
	}
	if err := d.Remove(t.Context(), "default/1/one"); err != nil || m.count() != 0 {
		t.Errorf("%v, %d mounts are left", err, m.count())
	}
	for _, name := range slices.Backward(names) {
		if err := d.Remove(t.Context(), name); err != nil {
			t.Error(err)
		}
	}
}

// Others that have layers in common with the image get these layers' files.
func TestHollowLayersAreFilled(t *testing.T) {
	p, m := newPair(t, nil), newMounter()
	d := p.open(t, t.TempDir(), m, "*")
	names := p.ordinary.pull(t.Context(), t, d)
	first := see(t, d, "first", names[2])

	// Another image with the same base.
	sibling := p.image("sibling", []string{"a=1", "b=2", "other=4"}, nil)
	name, _, err := sibling.prepare(t.Context(), d, 2, names[1], nil)
	if err != nil || name == "" {
		t.Fatal(err)
	}
	want(t, "a container of a sibling", see(t, d, "sibling", name), "other", "b", "a")
	if n := p.fetched(p.ordinary); n != 2 {
		t.Errorf("%d layers were fetched, want the common two", n)
	}
	// An image made of it.
	child := p.image("child", []string{"a=1", "b=2", "c=3", "more=5"}, nil)
	if name, _, err = child.prepare(t.Context(), d, 3, names[2], nil); err != nil || name == "" {
		t.Fatal(err)
	}
	want(t, "a container of a child", see(t, d, "child", name), "more", "rafs")
	want(t, "the first container", first, "rafs")
	if mounts, err := d.Mounts(t.Context(), "default/1/first"); err != nil || len(lowerOf(t, mounts)) != 1 {
		t.Errorf("the first container has now %v, %v", mounts, err)
	}
	if left := entries(t, d, "staged"); len(left) > 1 { // the bootstrap, for as long as the pull is remembered
		t.Errorf("staged: %q", left)
	}
}

// A container of the image's base needs files, too. Where they cannot be had, that is said.
func TestContainerOnAHollowLayer(t *testing.T) {
	p, m := newPair(t, nil), newMounter()
	d := p.open(t, t.TempDir(), m, "*")
	names := p.ordinary.pull(t.Context(), t, d)
	p.change(func() { p.faults[p.ordinary.blobs[0].Digest] = errors.New("no") })
	if _, err := d.Prepare(t.Context(), "default/1/one", names[1]); err == nil {
		t.Fatal("a container without files was made")
	}
	p.change(func() { clear(p.faults) })
	want(t, "a container of the base", see(t, d, "one", names[1]), "b", "a")
	want(t, "a container of the image", see(t, d, "two", names[2]), "rafs")
}

// A pull that began with the Nydus image ends with the ordinary one where that is gone.
func TestNydusGoesInTheMiddle(t *testing.T) {
	p, m, root := newPair(t, nil), newMounter(), t.TempDir()
	d := p.open(t, root, m, "*")
	parent, _, err := p.ordinary.prepare(t.Context(), d, 0, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if parent, _, err = p.ordinary.prepare(t.Context(), d, 1, parent, nil); err != nil {
		t.Fatal(err)
	}
	closeDoor(t, d)
	d = p.open(t, root, nil, "*")
	name, _, err := p.ordinary.prepare(t.Context(), d, 2, parent, nil)
	if err != nil || name == "" {
		t.Fatal(err)
	}
	want(t, "a container", see(t, d, "one", name), "c", "b", "a")

	// So it does where the pull is still remembered.
	p = newPair(t, nil)
	d = p.open(t, t.TempDir(), m, "*")
	if parent, _, err = p.ordinary.prepare(t.Context(), d, 0, "", nil); err != nil {
		t.Fatal(err)
	}
	m.set(errdefs.ErrUnavailable)
	for i := range 2 {
		if parent, _, err = p.ordinary.prepare(t.Context(), d, 1+i, parent, nil); err != nil || parent == "" {
			t.Fatal(err)
		}
	}
	want(t, "a container", see(t, d, "one", parent), "c", "b", "a")
	m.set(nil)

	// And where the door serves nothing at all, containerd unpacks onto the files.
	p = newPair(t, nil)
	d = p.open(t, t.TempDir(), m, "*")
	if parent, _, err = p.ordinary.prepare(t.Context(), d, 0, "", nil); err != nil {
		t.Fatal(err)
	}
	_, mounts, err := p.ordinary.prepare(t.Context(), d, 1, parent, map[string]string{labelParent: digest.FromString("wrong").String()})
	if err != nil || len(mounts) != 1 {
		t.Fatal(mounts, err)
	}
	if _, err := os.Stat(filepath.Join(lowerOf(t, mounts)[0], "a")); err != nil {
		t.Error(err)
	}
}

// What does not fit together gives the ordinary image.
func TestOrdinaryImageIsUsed(t *testing.T) {
	for name, test := range map[string]struct {
		prefer  []string
		change  func(*pair)
		mounter func(*mounter)
	}{
		"not configured":        {nil, nil, nil},
		"configured for others": {[]string{"registry.example/apple", "registry.example/app/x"}, nil, nil},
		"made of another": {[]string{"*"}, func(p *pair) {
			p.index.Manifests[1].Annotations[converter.LayerAnnotationNydusSourceDigest] = "sha256:0"
		}, nil},
		"does not say of what":    {[]string{"*"}, func(p *pair) { p.index.Manifests[1].Annotations = nil }, nil},
		"the tag has moved on":    {[]string{"*"}, func(p *pair) { p.index.Manifests[0].Digest = digest.FromString("newer") }, nil},
		"no index":                {[]string{"*"}, func(p *pair) { p.index.Manifests = nil }, nil},
		"the tag is not answered": {[]string{"*"}, func(p *pair) { p.err = errdefs.ErrUnavailable }, nil},
		"it is ordinary itself":   {[]string{"*"}, func(p *pair) { p.index.Manifests[1].Digest = p.image("x", []string{"x=1"}, nil).manifest }, nil},
		"it is not there":         {[]string{"*"}, func(p *pair) { p.index.Manifests[1].Digest = digest.FromString("gone") }, nil},
		"other settings": {[]string{"*"}, func(p *pair) {
			p.ordinary = p.image("app", []string{"a=1", "b=2", "c=3"}, func(_ *ocispec.Manifest, c *ocispec.Image) { c.Config.Entrypoint = []string{"sh"} })
			p.index.Manifests[0].Digest = p.ordinary.manifest
			p.index.Manifests[1].Annotations[converter.LayerAnnotationNydusSourceDigest] = p.ordinary.manifest.String()
		}, nil},
		"a bootstrap that is none": {[]string{"*"}, func(p *pair) { p.index.Manifests[1].Digest = p.registryOf.nydus("image/image.boot=x", nil).manifest }, nil},
		"a machine that cannot":    {[]string{"*"}, nil, func(m *mounter) { m.mode = client.Refused }},
		"nobody mounts":            {[]string{"*"}, nil, func(m *mounter) { m.err = errdefs.ErrUnavailable }},
	} {
		t.Run(name, func(t *testing.T) {
			p, m := newPair(t, test.change), newMounter()
			if test.mounter != nil {
				test.mounter(m)
			}
			d := p.open(t, t.TempDir(), m, test.prefer...)
			names := p.ordinary.pull(t.Context(), t, d)
			want(t, "a container", see(t, d, "one", names[2]), "c", "b", "a")
			if left := entries(t, d, "staged"); len(left) != 0 {
				t.Errorf("staged: %q", left)
			}
		})
	}
}
