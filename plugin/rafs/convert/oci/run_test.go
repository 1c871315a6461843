package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/plugin/rafs"
	"github.com/darter-p2p/darter/plugin/rafs/convert"
)

// layerWith is a layer of files, name and content in turn.
func layerWith(t testing.TB, files ...string) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, files[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// ordinary is an image of three layers for a platform, of which the second has only names.
func ordinary(t testing.TB, arch string) v1.Image {
	t.Helper()
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	var adds []mutate.Addendum
	for i, l := range []v1.Layer{
		layerWith(t, "etc/arch", arch, "bin/app", strings.Repeat("program ", 300_000)),
		layerWith(t, "etc/.wh.arch", "", "bin/copy", strings.Repeat("program ", 300_000)),
		layerWith(t, "etc/motd", "hello"),
	} {
		adds = append(adds, mutate.Addendum{Layer: l, History: v1.History{CreatedBy: fmt.Sprint("step ", i)}})
	}
	image, err := mutate.Append(image, adds...)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch
	config.Config.Entrypoint = []string{"/bin/app"}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	return image
}

// localRegistry serves a registry and returns its address.
func localRegistry(t testing.TB) string {
	t.Helper()
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func push(t testing.TB, ref string, what remote.Taggable) {
	t.Helper()
	r, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	switch w := what.(type) {
	case v1.Image:
		err = remote.Write(r, w)
	case v1.ImageIndex:
		err = remote.WriteIndex(r, w)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func pull(t testing.TB, ref string) *remote.Descriptor {
	t.Helper()
	r, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	d, err := remote.Get(r)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func run(t testing.TB, src, dst string, o Options) *Report {
	t.Helper()
	report, err := tryRun(t, src, dst, o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func tryRun(t testing.TB, src, dst string, o Options) (*Report, error) {
	t.Helper()
	o.WorkDir = t.TempDir()
	if o.Platform == "" {
		o.Platform = "linux/amd64"
	}
	report, err := Run(t.Context(), src, dst, o)
	if left, e := filepath.Glob(filepath.Join(o.WorkDir, "*")); e != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, e)
	}
	return report, err
}

// checkNydus checks that an image is what the snapshot door and nydus-snapshotter know
// as a Nydus image, and opens its bootstrap.
func checkNydus(t testing.TB, image v1.Image) *rafs.Image {
	t.Helper()
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	last := len(manifest.Layers) - 1
	var blobs []digest.Digest
	for i, l := range manifest.Layers {
		if i < last {
			blobs = append(blobs, digest.Digest(l.Digest.String()))
			if l.MediaType != typeBlob || l.Annotations[labelBlob] != "true" || config.RootFS.DiffIDs[i] != l.Digest {
				t.Errorf("layer %d: %+v, diffID %s", i, l, config.RootFS.DiffIDs[i])
			}
			continue
		}
		if l.MediaType != typeBootstrap || l.Annotations[labelBootstrap] != "true" || l.Annotations[labelVersion] != "6" {
			t.Errorf("bootstrap layer: %+v", l)
		}
	}
	if len(config.RootFS.DiffIDs) != len(manifest.Layers) {
		t.Errorf("%d diffIDs of %d layers", len(config.RootFS.DiffIDs), len(manifest.Layers))
	}
	full := slices.DeleteFunc(slices.Clone(config.History), func(h v1.History) bool { return h.EmptyLayer })
	if len(full) != len(manifest.Layers) {
		t.Errorf("history tells of %d layers of %d", len(full), len(manifest.Layers))
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range layers[:last] {
		r, err := l.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		sum, err := digest.FromReader(r)
		if err != nil || sum != blobs[i] {
			t.Errorf("blob %d is %s, its name %s, error %v", i, sum, blobs[i], err)
		}
		r.Close()
	}
	r, err := layers[last].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	boot := bootstrapIn(t, r, config.RootFS.DiffIDs[last])
	im, err := rafs.Open(bytes.NewReader(boot), int64(len(boot)), rafs.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if err := im.CheckBlobs(blobs); err != nil {
		t.Error(err)
	}
	return im
}

// bootstrapIn takes the bootstrap out of its layer.
func bootstrapIn(t testing.TB, r io.Reader, diffID v1.Hash) []byte {
	t.Helper()
	z, err := gzip.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	archive, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if got := digest.FromBytes(archive).String(); got != diffID.String() {
		t.Errorf("the bootstrap layer is %s, its diffID %s", got, diffID)
	}
	tr := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := tr.Next()
		if err != nil {
			t.Fatal(err)
		}
		if h.Name == bootstrapName {
			b, err := io.ReadAll(tr)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
	}
}

func TestRegistryToRegistry(t *testing.T) {
	host := localRegistry(t)
	src, dst := host+"/library/app:1", host+"/nydus/app:1"
	push(t, src, ordinary(t, "amd64"))
	report := run(t, src, dst, Options{})
	if want := host + "/nydus/app@" + report.Digest.String(); report.Reference != want {
		t.Errorf("reference %s, want %s", report.Reference, want)
	}
	image, err := pull(t, dst).Image()
	if err != nil {
		t.Fatal(err)
	}
	if blobs := checkNydus(t, image).Blobs(); len(blobs) != 2 {
		t.Errorf("%d blobs; the second layer has no bytes of its own", len(blobs))
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Architecture != "amd64" || !slices.Equal(config.Config.Entrypoint, []string{"/bin/app"}) {
		t.Errorf("the config has changed: %+v", config)
	}
	if again := run(t, src, host+"/other:1", Options{Convert: convert.Options{Workers: 7}}); again.Digest != report.Digest {
		t.Errorf("converted twice: %s and %s", report.Digest, again.Digest)
	}
	if other := run(t, src, host+"/other:2", Options{Convert: convert.Options{ChunkSize: 64 << 10}}); other.Digest == report.Digest {
		t.Error("the chunk size makes no difference")
	}
	if _, err := tryRun(t, dst, host+"/other:3", Options{}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a Nydus image was converted: %v", err)
	}
}

func TestBeside(t *testing.T) {
	host := localRegistry(t)
	ref := host + "/app:1"
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
		mutate.IndexAddendum{Add: ordinary(t, "amd64"), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: ordinary(t, "arm64"), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}})
	push(t, ref, index)
	entries := func() []v1.Descriptor {
		index, err := pull(t, ref).ImageIndex()
		if err != nil {
			t.Fatal(err)
		}
		m, err := index.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		return m.Manifests
	}
	before := entries()
	run(t, ref, ref, Options{Beside: true})
	run(t, ref, ref, Options{Beside: true, Platform: "linux/arm64"})
	report := run(t, ref, ref, Options{Beside: true, Platform: "linux/arm64", Convert: convert.Options{ChunkSize: 128 << 10}})
	after := entries()
	if len(after) != 4 {
		t.Fatalf("%d entries: %+v", len(after), after)
	}
	for i, d := range before {
		if of := after[2+i].Annotations[labelSource]; of != d.Digest.String() {
			t.Errorf("Nydus entry %d was made of %q, want %s", i, of, d.Digest)
		}
		if after[i].Digest != d.Digest || isNydusEntry(after[i]) {
			t.Errorf("entry %d was %s, is %+v", i, d.Digest, after[i])
		}
	}
	if !isNydusEntry(after[2]) || after[2].Platform.Architecture != "amd64" || !isNydusEntry(after[3]) || after[3].Digest.String() != report.Digest.String() {
		t.Errorf("Nydus entries: %+v", after[2:])
	}
	found, err := pull(t, ref).ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	image, err := found.Image(after[3].Digest)
	if err != nil {
		t.Fatal(err)
	}
	checkNydus(t, image)
}

// TestBesideOne makes an index of a plain image, in another repository.
func TestBesideOne(t *testing.T) {
	host := localRegistry(t)
	push(t, host+"/one:1", ordinary(t, "amd64"))
	run(t, host+"/one:1", host+"/index:1", Options{Beside: true})
	index, err := pull(t, host+"/index:1").ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Manifests) != 2 || isNydusEntry(m.Manifests[0]) || !isNydusEntry(m.Manifests[1]) {
		t.Errorf("entries: %+v", m.Manifests)
	}
}

func TestLayout(t *testing.T) {
	host := localRegistry(t)
	push(t, host+"/app:1", ordinary(t, "amd64"))
	dir := filepath.Join(t.TempDir(), "layout")
	plain, nydus := layoutPrefix+filepath.Join(t.TempDir(), "plain")+":1", layoutPrefix+dir+":nydus"
	from, err := parsePlace(host+"/app:1", false)
	if err != nil {
		t.Fatal(err)
	}
	f, err := from.get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	to, err := parsePlace(plain, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := to.put(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	report := run(t, plain, nydus, Options{})
	run(t, plain, nydus, Options{Convert: convert.Options{ChunkSize: 64 << 10}}) // replaces
	report2 := run(t, plain, nydus, Options{})
	if report.Digest != report2.Digest {
		t.Errorf("%s, then %s", report.Digest, report2.Digest)
	}
	if from, err = parsePlace(layoutPrefix+dir, false); err != nil {
		t.Fatal(err)
	}
	got, err := from.get(t.Context())
	if err != nil || got.image == nil {
		t.Fatalf("%+v, %v: want one image", got, err)
	}
	checkNydus(t, got.image)
	if _, err := tryRun(t, layoutPrefix+dir+":other", nydus, Options{}); !errdefs.IsNotFound(err) {
		t.Errorf("a tag that is not there: %v", err)
	}
}

func TestFailures(t *testing.T) {
	host := localRegistry(t)
	push(t, host+"/app:1", ordinary(t, "amd64"))
	var status atomic.Int32
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" {
			w.WriteHeader(int(status.Load()))
		}
	}))
	t.Cleanup(refusing.Close)
	refused := strings.TrimPrefix(refusing.URL, "http://") + "/app:1"
	wrong := ordinary(t, "amd64")
	raw, err := wrong.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	var config v1.ConfigFile
	if err := json.Unmarshal(raw, &config); err != nil {
		t.Fatal(err)
	}
	slices.Reverse(config.RootFS.DiffIDs)
	if wrong, err = mutate.ConfigFile(wrong, &config); err != nil {
		t.Fatal(err)
	}
	push(t, host+"/wrong:1", wrong)
	noTar, err := mutate.AppendLayers(empty.Image, static.NewLayer([]byte(strings.Repeat("no tar", 200)), types.OCIUncompressedLayer))
	if err != nil {
		t.Fatal(err)
	}
	push(t, host+"/notar:1", noTar)
	push(t, host+"/index:1", mutate.AppendManifests(empty.Index, mutate.IndexAddendum{
		Add: ordinary(t, "s390x"), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}}}))
	for _, c := range []struct {
		name, src, dst string
		o              Options
		status         int
		is             func(error) bool
	}{
		{"no such image", host + "/none:1", host + "/x:1", Options{}, 0, errdefs.IsNotFound},
		{"no such platform", host + "/index:1", host + "/x:1", Options{}, 0, errdefs.IsNotFound},
		{"wrong reference", "UPPER//x", host + "/x:1", Options{}, 0, errdefs.IsInvalidArgument},
		{"wrong platform", host + "/app:1", host + "/x:1", Options{Platform: "linux"}, 0, errdefs.IsInvalidArgument},
		{"wrong chunk size", host + "/app:1", host + "/x:1", Options{Convert: convert.Options{ChunkSize: 100000}}, 0, errdefs.IsInvalidArgument},
		{"no layout", layoutPrefix + "/nowhere", host + "/x:1", Options{}, 0, errdefs.IsNotFound},
		{"refused", refused, host + "/x:1", Options{}, 401, errdefs.IsUnauthorized},
		{"forbidden", refused, host + "/x:1", Options{}, 403, errdefs.IsPermissionDenied},
		{"failing", refused, host + "/x:1", Options{}, 502, errdefs.IsUnavailable},
		{"refused at the end", host + "/app:1", refused, Options{}, 403, errdefs.IsPermissionDenied},
		{"not there", "127.0.0.1:1/app:1", host + "/x:1", Options{}, 0, errdefs.IsUnavailable},
		{"wrong diffID", host + "/wrong:1", host + "/x:1", Options{}, 0, errdefs.IsDataLoss},
		{"no archive", host + "/notar:1", host + "/x:1", Options{}, 0, errdefs.IsInvalidArgument},
	} {
		t.Run(c.name, func(t *testing.T) {
			status.Store(int32(c.status))
			report, err := tryRun(t, c.src, c.dst, c.o)
			if err == nil || !c.is(err) {
				t.Fatalf("%+v, %v", report, err)
			}
			t.Log(err)
		})
	}
	x, err := name.ParseReference(host + "/x:1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Get(x); err == nil {
		t.Error("a failed conversion has put something")
	}
	if !errors.Is(registryError(io.ErrUnexpectedEOF), errdefs.ErrUnavailable) {
		t.Error("a cut stream is no failure of the registry")
	}
}
