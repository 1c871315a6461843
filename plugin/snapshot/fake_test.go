package snapshot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/snapshotters"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/goleak"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/plugin/layer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// registryOf is an Opener and Unpacker without network and archives: a layer's bytes
// are a text, its one file is named by it, and its diffID is that of "tar of "+text.
type registryOf struct {
	mu      sync.Mutex
	blobs   map[digest.Digest][]byte
	faults  map[digest.Digest]error         // of Open
	held    map[digest.Digest]chan struct{} // the body comes when it is closed
	opened  map[digest.Digest]int
	refused int
	guard   map[digest.Digest]string // the Authorization that it wants
	full    bool                     // the disk
	broken  bool                     // what settles
}

func newRegistry() *registryOf {
	return &registryOf{
		blobs: map[digest.Digest][]byte{}, faults: map[digest.Digest]error{},
		held: map[digest.Digest]chan struct{}{}, opened: map[digest.Digest]int{},
	}
}

func (f *registryOf) put(b []byte) digest.Digest {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := digest.FromBytes(b)
	f.blobs[d] = b
	return d
}

// change runs f under the lock.
func (f *registryOf) change(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *registryOf) count(d digest.Digest) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.opened[d]
}

// Open implements Opener.
func (f *registryOf) Open(ctx context.Context, c fetcher.Content, _ fetcher.Range) (*fetcher.Body, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.opened[c.Digest]++
	b, ok := f.blobs[c.Digest]
	if err := f.faults[c.Digest]; err != nil {
		return nil, err
	}
	if want := f.guard[c.Digest]; want != "" && c.Header.Get("Authorization") != want {
		f.refused++
		return nil, fmt.Errorf("%s: %w", c.Digest, errdefs.ErrUnauthenticated)
	}
	if !ok {
		return nil, fmt.Errorf("%s: %w", c.Digest, errdefs.ErrNotFound)
	}
	return &fetcher.Body{ReadCloser: io.NopCloser(&heldReader{ctx, f.held[c.Digest], bytes.NewReader(b)}), Size: int64(len(b))}, nil
}

type heldReader struct {
	ctx  context.Context
	held chan struct{} // nil = not held
	r    io.Reader
}

func (h *heldReader) Read(p []byte) (int, error) {
	if h.held != nil {
		select {
		case <-h.held:
		case <-h.ctx.Done():
			return 0, h.ctx.Err()
		}
	}
	return h.r.Read(p)
}

// Unpack implements Unpacker.
func (f *registryOf) Unpack(_ context.Context, r io.Reader, _, dir string, _ layer.Options) (layer.Result, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return layer.Result{}, err
	}
	f.mu.Lock()
	full := f.full
	f.mu.Unlock()
	if full {
		return layer.Result{}, fmt.Errorf("write: %w", errdefs.ErrResourceExhausted)
	}
	if strings.HasPrefix(string(b), "broken") {
		return layer.Result{}, fmt.Errorf("gzip: %w", errdefs.ErrDataLoss)
	}
	name, content, _ := strings.Cut(string(b), "=")
	if name != "" {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			return layer.Result{}, err
		}
		err = os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600)
	}
	return layer.Result{DiffID: digest.FromString("tar of " + string(b)), Implicit: []string{string(b)}}, err
}

// Settle implements Unpacker; it proves that the parents are the layers below.
func (f *registryOf) Settle(_ context.Context, dir string, implicit, parents []string) error {
	f.mu.Lock()
	broken := f.broken
	f.mu.Unlock()
	if broken {
		return errors.New("cannot settle")
	}
	for _, p := range append([]string{dir}, parents...) {
		if _, err := os.Stat(p); err != nil {
			return err
		}
	}
	if len(implicit) != 1 {
		return fmt.Errorf("implicit is %q", implicit)
	}
	return nil
}

// testImage is an image in a registryOf.
type testImage struct {
	ref      string
	manifest digest.Digest
	config   digest.Digest
	blobs    []ocispec.Descriptor
	diffIDs  []digest.Digest
	chains   []digest.Digest
}

// image puts an image of layers "name=content" into the registry; change may forge
// manifest and config before.
func (f *registryOf) image(name string, texts []string, change func(*ocispec.Manifest, *ocispec.Image)) *testImage {
	m := &testImage{ref: "registry.example/" + name + ":1"}
	for _, text := range texts {
		m.blobs = append(m.blobs, ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageLayerGzip, Digest: f.put([]byte(text)), Size: int64(len(text)),
		})
		m.diffIDs = append(m.diffIDs, digest.FromString("tar of "+text))
	}
	m.chains = identity.ChainIDs(append([]digest.Digest{}, m.diffIDs...))
	config := ocispec.Image{RootFS: ocispec.RootFS{Type: "layers", DiffIDs: m.diffIDs}}
	manifest := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Layers: m.blobs}
	manifest.Config.MediaType = ocispec.MediaTypeImageConfig
	if change != nil {
		change(&manifest, &config)
	}
	b, err := json.Marshal(config)
	if err != nil {
		panic(err)
	}
	m.config = f.put(b)
	manifest.Config.Digest, manifest.Config.Size = m.config, int64(len(b))
	if b, err = json.Marshal(manifest); err != nil {
		panic(err)
	}
	m.manifest = f.put(b)
	return m
}

// labels are what containerd's transfer service says of layer i.
func (m *testImage) labels(i int) map[string]string {
	l := map[string]string{
		snapshots.LabelSnapshotRef:             m.chains[i].String(),
		snapshots.LabelSnapshotDiffID:          m.diffIDs[i].String(),
		snapshotters.TargetRefLabel:            m.ref,
		snapshotters.TargetLayerDigestLabel:    m.blobs[i].Digest.String(),
		snapshotters.TargetManifestDigestLabel: m.manifest.String(),
		snapshotters.TargetImageLayersLabel:    m.blobs[i].Digest.String(),
	}
	if i > 0 {
		l[labelParent] = m.chains[i-1].String()
	}
	return l
}

// extraction is the key under which containerd's metadata asks for a layer.
func extraction(chain digest.Digest, n int) string {
	return "default/7/" + fmt.Sprintf(snapshots.UnpackKeyFormat, fmt.Sprintf("%d-abcd", n), chain)
}

// prepare asks the door for layer i as containerd does; parent is the name of the
// snapshot below. It returns the name of the layer's snapshot when it was served.
func (m *testImage) prepare(ctx context.Context, d *Door, i int, parent string, change map[string]string) (name string, mounts []mount.Mount, err error) {
	labels := m.labels(i)
	maps.Copy(labels, change)
	for k, v := range change {
		if v == "" {
			delete(labels, k)
		}
	}
	unique.mu.Lock()
	unique.n++
	n := unique.n
	unique.mu.Unlock()
	mounts, err = d.Prepare(ctx, extraction(m.chains[i], n), parent, snapshots.WithLabels(labels))
	if !errdefs.IsAlreadyExists(err) {
		return "", mounts, err
	}
	filter := fmt.Sprintf(`labels.%q==%s,parent==%q`, snapshots.LabelSnapshotRef, m.chains[i], parent)
	err = d.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if info.Kind == snapshots.KindCommitted {
			name = info.Name
		}
		return nil
	}, filter)
	if err == nil && name == "" {
		err = errors.New("it exists already, and containerd would not find it")
	}
	return name, nil, err
}

var unique struct {
	mu sync.Mutex
	n  int
}

// pull prepares all layers and returns the names of their snapshots; "" ends it, where
// one was not served.
func (m *testImage) pull(ctx context.Context, t *testing.T, d *Door) (names []string) {
	t.Helper()
	parent := ""
	for i := range m.blobs {
		name, _, err := m.prepare(ctx, d, i, parent, nil)
		if err != nil {
			t.Fatalf("layer %d: %v", i, err)
		}
		names = append(names, name)
		if parent = name; name == "" {
			break
		}
	}
	return names
}

func openDoor(t *testing.T, f *registryOf, change func(*Config)) *Door {
	t.Helper()
	cfg := testConfig(t.TempDir())
	cfg.Parallel = 4
	if change != nil {
		change(&cfg)
	}
	return openDoorWith(t, cfg, Options{Fetcher: f, Unpacker: f})
}

func openDoorWith(t *testing.T, cfg Config, o Options) *Door {
	t.Helper()
	d, err := New(context.Background(), cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeDoor(t, d) })
	return d
}

func closeDoor(t *testing.T, d *Door) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// entries lists a directory below the door's root.
func entries(t *testing.T, d *Door, dir string) (names []string) {
	t.Helper()
	all, err := os.ReadDir(filepath.Join(d.cfg.Root, dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		names = append(names, e.Name())
	}
	return names
}
