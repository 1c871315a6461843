package snapshot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/snapshotters"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestServesAnImage(t *testing.T) {
	f := newRegistry()
	d := openDoor(t, f, nil)
	// A layer twice, and an empty one.
	m := f.image("a", []string{"a=1", "b=2", "b=2", "", "c=3"}, nil)
	names := m.pull(t.Context(), t, d)
	if len(names) != 5 || slices.Contains(names, "") {
		t.Fatalf("served %q", names)
	}
	mounts, err := d.View(t.Context(), "look", names[4])
	if err != nil {
		t.Fatal(err)
	}
	var lower string
	for _, o := range mounts[0].Options {
		if s, ok := strings.CutPrefix(o, "lowerdir="); ok {
			lower = s
		}
	}
	dirs := strings.Split(lower, ":")
	for i, want := range []string{"c", "", "b", "b", "a"} { // the top first
		files, err := os.ReadDir(dirs[i])
		if err != nil || (want == "") != (len(files) == 0) || want != "" && files[0].Name() != want {
			t.Errorf("directory %d holds %v (%v), want %q", i, files, err, want)
		}
	}
	if left := entries(t, d, "staged"); len(left) > 0 {
		t.Errorf("staged: %q", left)
	}
	u, err := d.Usage(t.Context(), names[0])
	if err != nil || u.Inodes != 2 || u.Size < 1 {
		t.Errorf("usage %+v, %v", u, err)
	}
	if n := f.count(m.manifest); n != 1 {
		t.Errorf("the manifest was read %d times", n)
	}
}

// An image that is here for another namespace is not fetched again.
func TestShared(t *testing.T) {
	f := newRegistry()
	d := openDoor(t, f, nil)
	m := f.image("a", []string{"a=1", "b=2"}, nil)
	first := m.pull(t.Context(), t, d)
	again := m.pull(t.Context(), t, d)
	if !slices.Equal(first, again) || f.count(m.blobs[0].Digest) != 1 {
		t.Errorf("%q, then %q; fetched %d times", first, again, f.count(m.blobs[0].Digest))
	}
	// Also without a word about the image, as some clients ask.
	name, _, err := m.prepare(t.Context(), d, 1, first[0], map[string]string{
		snapshotters.TargetRefLabel: "", snapshotters.TargetManifestDigestLabel: "",
	})
	if err != nil || name != first[1] {
		t.Errorf("%q, %v", name, err)
	}
}

// containerd 1.6 says neither diffID nor the chain ID below.
func TestFewLabels(t *testing.T) {
	f := newRegistry()
	d := openDoor(t, f, nil)
	m := f.image("a", []string{"a=1", "b=2", "c=3"}, nil)
	few := map[string]string{labelParent: "", snapshots.LabelSnapshotDiffID: ""}
	parent := ""
	for i := range m.blobs {
		name, _, err := m.prepare(t.Context(), d, i, parent, few)
		if err != nil || name == "" {
			t.Fatalf("layer %d: %q, %v", i, name, err)
		}
		parent = name
	}
	if name, mounts, err := m.prepare(t.Context(), d, 0, parent, few); err != nil || name != "" || len(mounts) == 0 {
		t.Errorf("the lowest layer above another: %q, %v, %v", name, mounts, err)
	}
}

// A layer that containerd unpacked itself is used, too, and the next goes above it.
func TestAboveContainerdsOwn(t *testing.T) {
	f := newRegistry()
	d := openDoor(t, f, nil)
	m := f.image("a", []string{"a=1", "b=2"}, nil)
	ctx := t.Context()
	own := "default/8/" + m.chains[0].String()
	if _, err := d.Prepare(ctx, "default/1/own", ""); err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(ctx, own, "default/1/own", snapshots.WithLabels(m.labels(0))); err != nil {
		t.Fatal(err)
	}
	if names := m.pull(ctx, t, d); names[0] != own || names[1] == "" || f.count(m.blobs[0].Digest) != 0 {
		t.Errorf("%q", names)
	}
	// A parent that is another layer is nothing to build on.
	if _, err := d.Prepare(ctx, "default/1/other", ""); err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(ctx, "default/9/other", "default/1/other"); err != nil {
		t.Fatal(err)
	}
	if name, mounts, err := m.prepare(ctx, d, 1, "default/9/other", nil); err != nil || name != "" || len(mounts) == 0 {
		t.Errorf("%q, %v, %v", name, mounts, err)
	}
}

// What goes wrong gives the ordinary mounts, its reason, and not a wait for the layers
// above; the next pull is served.
func TestFallsBack(t *testing.T) {
	other := digest.FromString("another").String()
	for name, c := range map[string]struct {
		forge  func(*ocispec.Manifest, *ocispec.Image)
		break_ func(*registryOf, *testImage) (mend func())
		labels map[string]string
		reason string
	}{
		"no manifest":      {reason: noManifest, break_: func(f *registryOf, m *testImage) func() { return f.lose(m.manifest) }},
		"no config":        {reason: noManifest, break_: func(f *registryOf, m *testImage) func() { return f.lose(m.config) }},
		"no layer":         {reason: notFetched, break_: func(f *registryOf, m *testImage) func() { return f.lose(m.blobs[0].Digest) }},
		"changed manifest": {reason: noManifest, break_: func(f *registryOf, m *testImage) func() { return f.swap(m.manifest, "{}") }},
		"changed config":   {reason: noManifest, break_: func(f *registryOf, m *testImage) func() { return f.swap(m.config, "{}") }},
		"changed layer":    {reason: wrongDiffID, break_: func(f *registryOf, m *testImage) func() { return f.swap(m.blobs[0].Digest, "a=0") }},
		"broken layer":     {reason: notUnpacked, break_: func(f *registryOf, m *testImage) func() { return f.swap(m.blobs[0].Digest, "broken") }},
		"huge manifest": {reason: noManifest, break_: func(f *registryOf, m *testImage) func() {
			return f.swap(m.manifest, strings.Repeat(" ", maxDocument+1))
		}},
		"full disk":          {reason: noSpace, break_: func(f *registryOf, _ *testImage) func() { f.full = true; return func() { f.full = false } }},
		"nothing settles":    {reason: notPlaced, break_: func(f *registryOf, _ *testImage) func() { f.broken = true; return func() { f.broken = false } }},
		"another layer":      {reason: badLabels, labels: map[string]string{snapshotters.TargetLayerDigestLabel: other}},
		"another diffID":     {reason: badLabels, labels: map[string]string{snapshots.LabelSnapshotDiffID: other}},
		"another parent":     {reason: badLabels, labels: map[string]string{labelParent: other}},
		"no layer digest":    {reason: badLabels, labels: map[string]string{snapshotters.TargetLayerDigestLabel: ""}},
		"no image":           {reason: noImage, labels: map[string]string{snapshotters.TargetRefLabel: "", snapshotters.TargetManifestDigestLabel: ""}},
		"image without host": {reason: badLabels, labels: map[string]string{snapshotters.TargetRefLabel: "/etc"}},
		"manifest of sha512": {reason: badLabels, labels: map[string]string{snapshotters.TargetManifestDigestLabel: digest.SHA512.FromString("x").String()}},
		"foreign layers": {reason: unsupported, forge: func(m *ocispec.Manifest, _ *ocispec.Image) {
			m.Layers[0].MediaType = images.MediaTypeDockerSchema2LayerForeignGzip
		}},
		"too few diffIDs": {reason: noManifest, forge: func(_ *ocispec.Manifest, c *ocispec.Image) { c.RootFS.DiffIDs = c.RootFS.DiffIDs[:1] }},
		"other diffIDs": {reason: badLabels, forge: func(_ *ocispec.Manifest, c *ocispec.Image) {
			c.RootFS.DiffIDs = []digest.Digest{digest.Digest(other), digest.Digest(other)}
		}},
		"no layers":       {reason: noManifest, forge: func(m *ocispec.Manifest, _ *ocispec.Image) { m.Layers = nil }},
		"no image config": {reason: noManifest, forge: func(m *ocispec.Manifest, _ *ocispec.Image) { m.Config.MediaType = "application/x" }},
	} {
		t.Run(name, func(t *testing.T) {
			f, counted := newRegistry(), prometheus.NewRegistry()
			d, err := New(t.Context(), testConfig(t.TempDir()), Options{Fetcher: f, Unpacker: f, Metrics: counted})
			if err != nil {
				t.Fatal(err)
			}
			defer closeDoor(t, d)
			m := f.image("a", []string{"a=1", "b=2"}, c.forge)
			mend := func() {}
			if c.break_ != nil {
				f.change(func() { mend = c.break_(f, m) })
			}
			ctx := t.Context()
			served, mounts, err := m.prepare(ctx, d, 0, "", c.labels)
			if err != nil || served != "" || len(mounts) != 1 || mounts[0].Type != "bind" {
				t.Fatalf("%q, %v, %v", served, mounts, err)
			}
			if n := testutil.ToFloat64(d.metrics.layers.WithLabelValues(c.reason)); n != 1 {
				t.Errorf("%v fell back because of %q", n, c.reason)
			}
			if c.forge != nil {
				return // wrong for ever
			}
			f.change(mend)
			if names := m.pull(ctx, t, d); slices.Contains(names, "") {
				t.Errorf("later: %q", names)
			}
		})
	}
}

func (f *registryOf) lose(d digest.Digest) (mend func()) {
	f.faults[d] = fmt.Errorf("%s: %w", d, errdefs.ErrUnavailable)
	return func() { delete(f.faults, d) }
}

func (f *registryOf) swap(d digest.Digest, text string) (mend func()) {
	was := f.blobs[d]
	f.blobs[d] = []byte(text)
	return func() { f.blobs[d] = was }
}

// containerd goes on with a layer that it had to unpack: nobody waits for those above,
// and one that is ready is served.
func TestAboveAFallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newRegistry()
		d := openDoor(t, f, nil)
		m := f.image("a", []string{"a=1", "b=2", "c=3"}, nil)
		f.lose(m.blobs[0].Digest)
		f.held[m.blobs[2].Digest] = make(chan struct{})
		_, mounts, err := m.prepare(t.Context(), d, 0, "", nil)
		if err != nil || len(mounts) == 0 {
			t.Fatal(mounts, err)
		}
		synctest.Wait()
		var key string
		_ = d.Walk(t.Context(), func(_ context.Context, i snapshots.Info) error { key = i.Name; return nil })
		if again, err := d.Mounts(t.Context(), key); err != nil || fmt.Sprint(again) != fmt.Sprint(mounts) {
			t.Errorf("mounts %v, then %v, %v", mounts, again, err)
		}
		if err := d.Commit(t.Context(), "own", key, snapshots.WithLabels(m.labels(0))); err != nil {
			t.Fatal(err)
		}
		second, _, err := m.prepare(t.Context(), d, 1, "own", nil)
		if err != nil || second == "" {
			t.Fatalf("what is ready is not used: %v", err)
		}
		began := time.Now()
		if name, mounts, err := m.prepare(t.Context(), d, 2, second, nil); err != nil || name != "" || len(mounts) == 0 || time.Since(began) > 0 {
			t.Errorf("%q, %v, %v after %v", name, mounts, err, time.Since(began))
		}
		closeDoor(t, d)
	})
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newRegistry()
		d := openDoor(t, f, nil)
		for _, what := range []string{"layer", "manifest"} {
			m := f.image("a", []string{"a=" + what}, nil)
			slow := map[string]digest.Digest{"layer": m.blobs[0].Digest, "manifest": m.manifest}[what]
			f.held[slow] = make(chan struct{})
			began := time.Now()
			_, mounts, err := m.prepare(t.Context(), d, 0, "", nil)
			if took := time.Since(began); err != nil || len(mounts) != 1 || took != d.cfg.PrepareTimeout.Duration() {
				t.Errorf("%s: %v, %v after %v", what, mounts, err, took)
			}
		}
		synctest.Wait()
		if left := entries(t, d, "staged"); len(left) > 0 {
			t.Errorf("staged: %q", left)
		}
		closeDoor(t, d)
	})
}

// Two images share a layer, and their pulls run at once.
func TestTwoPulls(t *testing.T) {
	f := newRegistry()
	d := openDoor(t, f, nil)
	a, b := f.image("a", []string{"base=1", "a=2"}, nil), f.image("b", []string{"base=1", "b=2"}, nil)
	f.held[a.blobs[0].Digest] = make(chan struct{})
	var pulls sync.WaitGroup
	var names [4][]string
	for i, m := range []*testImage{a, b, a, b} {
		pulls.Go(func() { names[i] = m.pull(t.Context(), t, d) })
	}
	for f.count(a.blobs[1].Digest) == 0 || f.count(b.blobs[1].Digest) == 0 {
		time.Sleep(time.Millisecond)
	}
	close(f.held[a.blobs[0].Digest])
	pulls.Wait()
	for i, n := range names {
		if len(n) != 2 || n[0] == "" || n[0] != names[0][0] || n[1] != names[i%2][1] || n[1] == "" {
			t.Errorf("pull %d: %q", i, n)
		}
	}
	for _, l := range []digest.Digest{a.blobs[0].Digest, a.blobs[1].Digest, b.blobs[1].Digest} {
		if f.count(l) != 1 {
			t.Errorf("%s was fetched %d times", l, f.count(l))
		}
	}
}

// A pull that is cancelled leaves nothing behind after a while.
func TestCancelledPull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newRegistry()
		d := openDoor(t, f, nil)
		m := f.image("a", []string{"a=1", "b=2", "c=3"}, nil)
		f.held[m.blobs[0].Digest] = make(chan struct{})
		f.held[m.blobs[2].Digest] = make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, _, err := m.prepare(ctx, d, 0, "", nil); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := len(entries(t, d, "staged")); n != 2 {
			t.Errorf("%d are staged: want the two above, one of them on its way", n)
		}
		time.Sleep(d.cfg.KeepStaged.Duration() * 3 / 2)
		synctest.Wait()
		if left := entries(t, d, "staged"); len(left) > 0 {
			t.Errorf("staged: %q", left)
		}
		if left := entries(t, d, "snapshots"); len(left) > 0 {
			t.Errorf("snapshots: %q", left)
		}
		closeDoor(t, d)
	})
}

// What a crash leaves at each step is gone at the next start, and stops nobody.
func TestCrash(t *testing.T) {
	f := newRegistry()
	d := openDoor(t, f, nil)
	m := f.image("a", []string{"a=1", "b=2"}, nil)
	first, _, err := m.prepare(t.Context(), d, 0, "", nil)
	if err != nil || first == "" {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	cfg := d.cfg
	// Staged or half staged; moved, but the transaction did not end: a directory with the
	// number that the next snapshot gets.
	for _, dir := range []string{"staged/abc-1/fs/x", "snapshots/3/fs/half", "snapshots/4/fs", "snapshots/new-1/fs"} {
		if err := os.MkdirAll(filepath.Join(cfg.Root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if d, err = New(t.Context(), cfg, Options{Fetcher: f, Unpacker: f}); err != nil {
		t.Fatal(err)
	}
	defer closeDoor(t, d)
	if left := entries(t, d, "staged"); len(left) > 0 {
		t.Errorf("staged: %q", left)
	}
	if left := entries(t, d, "snapshots"); !slices.Equal(left, []string{"2"}) {
		t.Errorf("snapshots: %q", left)
	}
	names := m.pull(t.Context(), t, d)
	if names[0] != first || names[1] == "" {
		t.Errorf("%q", names)
	}
}

// wallet is the credentials of a node.
type wallet string

func (w wallet) Authorization(context.Context, string, string) (string, error) { return string(w), nil }

// What anyone may read is read without the node's credential, and what is refused with it.
func TestCredentials(t *testing.T) {
	f := newRegistry()
	public, private := f.image("public", []string{"a=1"}, nil), f.image("private", []string{"b=1", "c=2"}, nil)
	f.guard = map[digest.Digest]string{}
	for _, d := range []digest.Digest{private.manifest, private.config, private.blobs[0].Digest, private.blobs[1].Digest} {
		f.guard[d] = "Bearer good"
	}
	for _, w := range []wallet{"", "Bearer bad", "Bearer good"} {
		d, err := New(t.Context(), testConfig(t.TempDir()), Options{Fetcher: f, Unpacker: f, Credentials: w})
		if err != nil {
			t.Fatal(err)
		}
		f.refused = 0
		if names := public.pull(t.Context(), t, d); names[0] == "" || f.refused > 0 {
			t.Errorf("%q: public: %q, refused %d times", w, names, f.refused)
		}
		names := private.pull(t.Context(), t, d)
		if good := w == "Bearer good"; (names[0] != "") != good || good && f.refused != 1 {
			t.Errorf("%q: private: %q, refused %d times", w, names, f.refused)
		}
		closeDoor(t, d)
	}
}

// A failed transaction gives the directory back, and its number.
func TestPlaceFails(t *testing.T) {
	f := newRegistry()
	d := openDoor(t, f, nil)
	m := f.image("a", []string{"a=1"}, nil)
	if err := os.Mkdir(filepath.Join(d.cfg.Root, "snapshots", "2"), 0o700); err != nil {
		t.Fatal(err)
	}
	dir, err := d.shelf.newDir(m.chains[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := d.shelf.place(t.Context(), dir, "k", "", m.chains[0], snapshots.Usage{}, nil); !errdefs.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	if _, err := os.Stat(files(dir)); err != nil {
		t.Error(err)
	}
	if _, err := d.Stat(t.Context(), "k"); !errdefs.IsNotFound(err) {
		t.Errorf("the key is not free: %v", err)
	}
	if err := d.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := d.shelf.place(t.Context(), dir, "k", "", m.chains[0], snapshots.Usage{}, nil); err != nil {
		t.Error(err)
	}
}

// A door that stops lets go of those who wait.
func TestStop(t *testing.T) {
	f := newRegistry()
	d := openDoor(t, f, nil)
	m := f.image("a", []string{"a=1"}, nil)
	f.held[m.blobs[0].Digest] = make(chan struct{})
	l, err := net.Listen("unix", filepath.Join(shortDir(t), "s.sock"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var parts sync.WaitGroup
	parts.Go(func() {
		if err := d.Serve(ctx, l); err != nil {
			t.Error(err)
		}
	})
	parts.Go(func() {
		if _, mounts, err := m.prepare(context.Background(), d, 0, "", nil); err != nil || len(mounts) != 1 {
			t.Errorf("%v, %v", mounts, err)
		}
	})
	for f.count(m.blobs[0].Digest) == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	parts.Wait()
}

// One process at a time uses the snapshots.
func TestTwoDoors(t *testing.T) {
	d := openDoor(t, newRegistry(), nil)
	if _, err := New(t.Context(), d.cfg, Options{}); err == nil || !strings.Contains(err.Error(), "one process") {
		t.Errorf("a second door: %v", err)
	}
}

// Snapshots that are no layers are what overlayfs makes of them, whatever their labels say.
func TestOtherSnapshots(t *testing.T) {
	f := newRegistry()
	d := openDoor(t, f, nil)
	m := f.image("a", []string{"a=1"}, nil)
	mapped := m.labels(0)
	mapped[snapshots.LabelSnapshotUIDMapping], mapped[snapshots.LabelSnapshotGIDMapping] = "0:0:1", "0:0:1"
	for key, labels := range map[string]map[string]string{
		"default/1/container":         m.labels(0), // by annotations of its pod
		"default/2/extract-1-a other": m.labels(0),
		extraction(m.chains[0], 3):    mapped,
		"default/4/plain":             nil,
	} {
		mounts, err := d.Prepare(t.Context(), key, "", snapshots.WithLabels(labels))
		if err != nil || len(mounts) != 1 {
			t.Errorf("%s: %v, %v", key, mounts, err)
		}
	}
	if f.count(m.manifest) != 0 {
		t.Error("the manifest was read")
	}
}

func TestManyLayers(t *testing.T) {
	f := newRegistry()
	d := openDoor(t, f, nil)
	var texts []string
	for i := range 80 {
		texts = append(texts, fmt.Sprintf("f%d=%d", i%70, i%70)) // ten of them twice
	}
	m := f.image("deep", texts, nil)
	if names := m.pull(t.Context(), t, d); len(names) != 80 || slices.Contains(names, "") {
		t.Errorf("served %d: %q", len(names), names)
	}
}

func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "door") //nolint:usetesting // its directories have names too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
