package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/snapshotters"
	"github.com/containerd/errdefs"
	"github.com/containerd/nydus-snapshotter/pkg/converter"
	"github.com/containerd/nydus-snapshotter/pkg/label"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/darter-p2p/darter/plugin/rafs/client"
)

// mounter is a mount server in memory.
type mounter struct {
	mu      sync.Mutex
	mounts  map[string]client.Request
	err     error // of every call
	mode    client.Mode
	stale   bool          // Mount says once that there is another with that ID
	changed chan struct{} // gets one after each change
	counts  map[string]int
}

func newMounter() *mounter {
	return &mounter{mounts: map[string]client.Request{}, mode: client.FileBacked, changed: make(chan struct{}, 100), counts: map[string]int{}}
}

func (m *mounter) Mount(_ context.Context, r client.Request) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts["mount"]++
	if m.stale {
		m.stale = false
		return errdefs.ErrAlreadyExists
	}
	if m.err != nil {
		return m.err
	}
	if err := r.Validate(); err != nil {
		return err
	}
	for _, path := range []string{r.Bootstrap, r.Mountpoint} {
		if _, err := os.Stat(path); err != nil {
			return err
		}
	}
	m.mounts[r.ID] = r
	m.changed <- struct{}{}
	return nil
}

func (m *mounter) Unmount(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts["unmount"]++
	if m.err != nil {
		return m.err
	}
	delete(m.mounts, id)
	m.changed <- struct{}{}
	return nil
}

func (m *mounter) List(context.Context) ([]client.Mount, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []client.Mount
	for id, r := range m.mounts {
		all = append(all, client.Mount{ID: id, Mountpoint: r.Mountpoint})
	}
	return all, m.err
}

func (m *mounter) Status(context.Context) (client.Status, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return client.Status{Mode: m.mode, Reason: "no EROFS in this kernel"}, m.err
}

func (m *mounter) set(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

func (m *mounter) only(t *testing.T) client.Request {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.mounts) != 1 {
		t.Fatalf("%d mounts, want 1", len(m.mounts))
	}
	for _, r := range m.mounts {
		return r
	}
	panic("unreachable")
}

func (m *mounter) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.mounts)
}

// smallBlob is the data blob that the bootstrap small.boot names.
const smallBlob = digest.Digest("sha256:be7d77eeb719f70884758d1aa800ed0fb09d701aaec469964e9d54325f0d5fef")

func readBootstrap(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../rafs/testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// nydus puts a Nydus image of one data blob and a bootstrap layer into the registry. The
// blob itself is not there: nobody may ask for it.
func (f *registryOf) nydus(bootstrapFile string, change func(*ocispec.Manifest)) *testImage {
	return f.image("lazy", []string{"blob=", bootstrapFile}, func(m *ocispec.Manifest, _ *ocispec.Image) {
		m.Layers[0].Digest, m.Layers[0].MediaType = smallBlob, converter.MediaTypeNydusBlob
		m.Layers[0].Annotations = map[string]string{label.NydusDataLayer: "true"}
		m.Layers[1].Annotations = map[string]string{label.NydusMetaLayer: "true", converter.LayerAnnotationFSVersion: "6"}
		if change != nil {
			change(m)
		}
	})
}

// annotated are the labels that containerd makes of a layer's annotations.
func (m *testImage) annotated(i int) map[string]string { return m.blobs[i].Annotations }

func (m *testImage) pullLazy(t *testing.T, d *Door) (names []string) {
	t.Helper()
	parent := ""
	for i := range m.blobs {
		name, mounts, err := m.prepare(t.Context(), d, i, parent, m.annotated(i))
		if err != nil || name == "" {
			t.Fatalf("layer %d: %q, %v, %v", i, name, mounts, err)
		}
		names, parent = append(names, name), name
	}
	return names
}

func openLazyDoor(t *testing.T, f *registryOf, m *mounter) *Door {
	t.Helper()
	return openDoorWith(t, testConfig(t.TempDir()), Options{Fetcher: f, Unpacker: f, Mounter: m})
}

func lowerOf(t *testing.T, m []mount.Mount) []string {
	t.Helper()
	for _, o := range m[0].Options {
		if dirs, ok := strings.CutPrefix(o, "lowerdir="); ok {
			return strings.Split(dirs, ":")
		}
	}
	t.Fatalf("no lower directory in %v", m)
	return nil
}

func TestServesANydusImage(t *testing.T) {
	f, m := newRegistry(), newMounter()
	d := openLazyDoor(t, f, m)
	im := f.nydus("image/image.boot="+readBootstrap(t, "small.boot"), nil)
	names := im.pullLazy(t, d)
	if f.count(smallBlob) != 0 {
		t.Error("the data blob was fetched")
	}
	if m.count() != 0 {
		t.Error("it is mounted without a container")
	}
	ctx := t.Context()
	for i, inodes := range []int64{1, 3} { // the root; and image/image.boot
		if u, err := d.Usage(ctx, names[i]); err != nil || u.Inodes != inodes {
			t.Errorf("usage of layer %d: %+v, %v", i, u, err)
		}
	}

	mounts, err := d.Prepare(ctx, "default/1/one", names[1])
	if err != nil {
		t.Fatal(err)
	}
	r := m.only(t)
	if r.Registry != "registry.example" || r.Repository != "lazy" || r.Image != im.ref || !slices.Equal(r.Blobs, []digest.Digest{smallBlob}) {
		t.Errorf("mounted %+v", r)
	}
	if got := lowerOf(t, mounts); !slices.Equal(got, []string{r.Mountpoint}) || mounts[0].Type != "overlay" || !hasUpper(mounts[0].Options) {
		t.Errorf("mounts %v", mounts)
	}
	if again, err := d.Mounts(ctx, "default/1/one"); err != nil || fmt.Sprint(again) != fmt.Sprint(mounts) {
		t.Errorf("Mounts says %v, %v; Prepare said %v", again, err, mounts)
	}
	view, err := d.View(ctx, "default/1/view", names[1])
	if want := (mount.Mount{Type: "bind", Source: r.Mountpoint, Options: []string{"ro", "rbind"}}); err != nil || fmt.Sprint(view) != fmt.Sprint([]mount.Mount{want}) {
		t.Errorf("View says %v, %v", view, err)
	}

	// What nerdctl commit makes is a layer above the image.
	if err := d.Commit(ctx, "default/1/committed", "default/1/one"); err != nil {
		t.Fatal(err)
	}
	mounts, err = d.Prepare(ctx, "default/1/two", "default/1/committed")
	if err != nil {
		t.Fatal(err)
	}
	if got := lowerOf(t, mounts); len(got) != 2 || got[1] != r.Mountpoint || got[0] == r.Mountpoint {
		t.Errorf("mounts %v", mounts)
	}

	// The mount goes with the last that uses it.
	for _, key := range []string{"default/1/view", "default/1/two"} {
		if m.count() != 1 {
			t.Errorf("before %s goes there are %d mounts", key, m.count())
		}
		if err := d.Remove(ctx, key); err != nil {
			t.Fatal(err)
		}
	}
	if left := entries(t, d, "rafs"); m.count() != 0 || len(left) != 0 {
		t.Errorf("%d mounts are left, and the mountpoints %q", m.count(), left)
	}
	unmounts := m.counts["unmount"]
	for _, name := range []string{"default/1/committed", names[1], names[0]} {
		if err := d.Remove(ctx, name); err != nil {
			t.Error(err)
		}
	}
	if m.counts["unmount"] != unmounts {
		t.Error("removing layers asks the mount server")
	}
}

// An image of no data: a bootstrap alone, which overlayfs would bind.
func TestNydusImageOfOneLayer(t *testing.T) {
	dir := "/var/lib/darter/snapshots/snapshots/7/fs"
	got, err := replace([]mount.Mount{{Type: "bind", Source: dir, Options: []string{"ro", "rbind"}}}, dir, "/mnt")
	if err != nil || got[0].Source != "/mnt" {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := replace([]mount.Mount{{Type: "bind", Source: "/other"}}, dir, "/mnt"); err == nil {
		t.Error("mounts without the layer are taken")
	}
}

func TestNydusMountFails(t *testing.T) {
	f, m := newRegistry(), newMounter()
	d := openLazyDoor(t, f, m)
	names := f.nydus("image.boot="+readBootstrap(t, "small.boot"), nil).pullLazy(t, d) // where older tools put it
	ctx := t.Context()
	m.set(fmt.Errorf("no room in the cache: %w", errdefs.ErrResourceExhausted))
	if _, err := d.Prepare(ctx, "default/1/one", names[1]); !errdefs.IsResourceExhausted(err) || !strings.Contains(err.Error(), "registry.example/lazy:1") {
		t.Fatal(err)
	}
	if _, err := d.Stat(ctx, "default/1/one"); !errdefs.IsNotFound(err) {
		t.Fatalf("a container's snapshot that cannot be mounted is there: %v", err)
	}
	m.set(nil)
	m.stale = true // of another life of this directory
	if _, err := d.Prepare(ctx, "default/1/one", names[1]); err != nil {
		t.Fatal(err)
	}
	m.set(errdefs.ErrUnavailable) // the mount server is away: Mounts says so, Remove works
	if _, err := d.Mounts(ctx, "default/1/one"); !errdefs.IsUnavailable(err) {
		t.Fatal(err)
	}
	if err := d.Remove(ctx, "default/1/one"); err != nil {
		t.Fatal(err)
	}
	m.set(nil)
}

// After a restart of darterd what containers use is mounted, as soon as the mount server
// is there, and nothing else.
func TestNydusMountsAreRecovered(t *testing.T) {
	f, m := newRegistry(), newMounter()
	cfg := testConfig(t.TempDir())
	first, err := New(context.Background(), cfg, Options{Fetcher: f, Unpacker: f, Mounter: m})
	if err != nil {
		t.Fatal(err)
	}
	names := f.nydus("image/image.boot="+readBootstrap(t, "small.boot"), nil).pullLazy(t, first)
	if _, err := first.Prepare(t.Context(), "default/1/one", names[1]); err != nil {
		t.Fatal(err)
	}
	want := m.only(t)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	m.mu.Lock() // the machine starts anew, and somebody forgot a mount
	clear(m.mounts)
	left := want
	left.ID = first.lazy.prefix + "999"
	other := client.Request{ID: "other"}
	m.mounts[left.ID], m.mounts[other.ID] = left, other
	m.err = errdefs.ErrUnavailable
	for len(m.changed) > 0 {
		<-m.changed
	}
	m.mu.Unlock()
	d := openDoorWith(t, cfg, Options{Fetcher: f, Unpacker: f, Mounter: m})
	m.set(nil)
	for range 2 { // one goes, one comes
		select {
		case <-m.changed:
		case <-time.After(30 * time.Second):
			t.Fatal("the mounts are not brought in order")
		}
	}
	m.mu.Lock()
	_, kept := m.mounts[other.ID]
	got, back := m.mounts[want.ID]
	n := len(m.mounts)
	m.mu.Unlock()
	if !kept || !back || n != 2 || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("mounted %+v, want %+v", got, want)
	}
	if err := d.Remove(t.Context(), "default/1/one"); err != nil || m.count() != 1 {
		t.Errorf("%v, %d mounts", err, m.count())
	}
}

// What is wrong with a Nydus image is said: containerd has no use for ordinary mounts.
func TestNydusImageIsRefused(t *testing.T) {
	good := "image/image.boot=" + readBootstrap(t, "small.boot")
	for name, test := range map[string]struct {
		file    string
		change  func(*ocispec.Manifest)
		mounter func(*mounter)
		labels  map[string]string
		none    bool // no mount server
		at      int  // the layer whose Prepare fails
		outcome string
		class   func(error) bool
	}{
		"no mount server":         {file: good, none: true, outcome: notLazy, class: errdefs.IsNotImplemented},
		"mount server away":       {file: good, mounter: func(m *mounter) { m.err = errdefs.ErrUnavailable }, outcome: notLazy, class: errdefs.IsUnavailable},
		"kernel cannot":           {file: good, mounter: func(m *mounter) { m.mode = client.Refused }, outcome: notLazy, class: errdefs.IsFailedPrecondition},
		"client says no image":    {file: good, labels: map[string]string{snapshotters.TargetRefLabel: "", snapshotters.TargetManifestDigestLabel: ""}, outcome: noImage},
		"no bootstrap file":       {file: "image/other=x", at: 1, outcome: badBootstrap, class: errdefs.IsInvalidArgument},
		"bootstrap is not EROFS":  {file: "image/image.boot=" + strings.Repeat("x", 9000), at: 1, outcome: badBootstrap, class: errdefs.IsInvalidArgument},
		"bootstrap is cut":        {file: good[:3000], at: 1, outcome: badBootstrap, class: errdefs.IsInvalidArgument},
		"RAFS v5":                 {file: "image/image.boot=SFAR\x00\x05\x00\x00" + strings.Repeat("\x00", 9000), at: 1, outcome: badBootstrap, class: errdefs.IsNotImplemented},
		"foreign blob":            {file: good, change: func(m *ocispec.Manifest) { m.Layers[0].Digest = digest.FromString("another") }, at: 1, outcome: badBootstrap},
		"bootstrap below":         {file: good, change: func(m *ocispec.Manifest) { m.Layers[0].Annotations = m.Layers[1].Annotations }, outcome: noManifest, class: errdefs.IsInvalidArgument},
		"no bootstrap":            {file: good, change: func(m *ocispec.Manifest) { m.Layers[1].Annotations = m.Layers[0].Annotations }, outcome: noManifest, class: errdefs.IsInvalidArgument},
		"ordinary layer in it":    {file: good, change: func(m *ocispec.Manifest) { m.Layers[1].Annotations = nil }, outcome: noManifest, class: errdefs.IsInvalidArgument},
		"bootstrap of a bad type": {file: good, change: func(m *ocispec.Manifest) { m.Layers[1].MediaType = converter.MediaTypeNydusBlob }, at: 1, outcome: unsupported},
	} {
		t.Run(name, func(t *testing.T) {
			f, m := newRegistry(), newMounter()
			reg := prometheus.NewRegistry()
			o := Options{Fetcher: f, Unpacker: f, Metrics: reg}
			if !test.none {
				o.Mounter = m
			}
			d := openDoorWith(t, testConfig(t.TempDir()), o)
			if test.mounter != nil {
				m.mu.Lock()
				test.mounter(m)
				m.mu.Unlock()
			}
			im := f.nydus(test.file, test.change)
			parent := ""
			for i := range test.at {
				var err error
				if parent, _, err = im.prepare(t.Context(), d, i, parent, im.annotated(i)); err != nil || parent == "" {
					t.Fatalf("layer %d: %v", i, err)
				}
			}
			labels := im.annotated(test.at)
			if labels == nil {
				labels = map[string]string{}
			}
			all := map[string]string{}
			for _, from := range []map[string]string{labels, test.labels} {
				for k, v := range from {
					all[k] = v
				}
			}
			name, mounts, err := im.prepare(t.Context(), d, test.at, parent, all)
			if err == nil || name != "" || mounts != nil || test.class != nil && !test.class(err) {
				t.Fatalf("%q, %v, %v", name, mounts, err)
			}
			var f2 *fallback
			if !errors.As(err, &f2) || f2.reason != test.outcome {
				t.Errorf("refused because %v, want %s", err, test.outcome)
			}
			if n := testutil.ToFloat64(d.metrics.layers.WithLabelValues(test.outcome)); n != 1 {
				t.Errorf("%s is counted %v times", test.outcome, n)
			}
			if left := entries(t, d, "staged"); len(left) > 0 {
				t.Errorf("staged: %q", left)
			}
		})
	}
}

// A link in the bootstrap layer leads nowhere.
func TestBootstrapIsNoLink(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "image.boot"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, link := range map[string]string{"image": outside, "image.boot": filepath.Join(outside, "image.boot")} {
		dir := t.TempDir()
		if err := os.Symlink(link, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if path, err := bootstrapPath(dir); err == nil {
			t.Errorf("%s leads to %s", name, path)
		}
	}
}

var _ snapshots.Snapshotter = (*Door)(nil)
