package snapshot

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/snapshotters"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestParseRequest(t *testing.T) {
	m := newRegistry().image("a", []string{"a=1", "b=2"}, nil)
	for name, c := range map[string]struct {
		key   string
		set   map[string]string
		fault string // "" = none
		check func(*request) bool
	}{
		"a layer":           {check: func(r *request) bool { return r.parent == m.chains[0] && r.image.registry == "registry.example" }},
		"docker hub":        {set: map[string]string{snapshotters.TargetRefLabel: "docker.io/library/nginx:1@" + m.manifest.String()}, check: func(r *request) bool { return r.image.repository == "library/nginx" }},
		"a port":            {set: map[string]string{snapshotters.TargetRefLabel: "127.0.0.1:5000/x/y:1"}, check: func(r *request) bool { return r.image.registry == "127.0.0.1:5000" && r.image.repository == "x/y" }},
		"no image":          {set: map[string]string{snapshotters.TargetRefLabel: "", snapshotters.TargetManifestDigestLabel: ""}, check: func(r *request) bool { return r.image == nil }},
		"a container":       {key: "default/1/c", fault: errNotLayer.Error()},
		"another chain":     {key: "default/1/extract-1-a sha256:" + strings.Repeat("0", 64), fault: errNotLayer.Error()},
		"no ref":            {set: map[string]string{snapshots.LabelSnapshotRef: ""}, fault: errNotLayer.Error()},
		"mapped ids":        {set: map[string]string{snapshots.LabelSnapshotUIDMapping: "0:1:2"}, fault: errNotLayer.Error()},
		"ref is no digest":  {key: "default/1/extract-1-a x", set: map[string]string{snapshots.LabelSnapshotRef: "x"}, fault: snapshots.LabelSnapshotRef},
		"layer no digest":   {set: map[string]string{snapshotters.TargetLayerDigestLabel: "sha256:../../x"}, fault: snapshotters.TargetLayerDigestLabel},
		"diffID in capital": {set: map[string]string{snapshots.LabelSnapshotDiffID: "sha256:" + strings.Repeat("A", 64)}, fault: snapshots.LabelSnapshotDiffID},
		"no manifest":       {set: map[string]string{snapshotters.TargetManifestDigestLabel: ""}, fault: snapshotters.TargetManifestDigestLabel},
		"no image name":     {set: map[string]string{snapshotters.TargetRefLabel: ""}, fault: snapshotters.TargetRefLabel},
		"climbing":          {set: map[string]string{snapshotters.TargetRefLabel: "registry.example/../x:1"}, fault: snapshotters.TargetRefLabel},
		"with a user":       {set: map[string]string{snapshotters.TargetRefLabel: "a:b@registry.example/x:1"}, fault: snapshotters.TargetRefLabel},
		"with a query":      {set: map[string]string{snapshotters.TargetRefLabel: "registry.example?x=/y:1"}, fault: snapshotters.TargetRefLabel},
	} {
		t.Run(name, func(t *testing.T) {
			labels, key := m.labels(1), extraction(m.chains[1], 1)
			maps.Copy(labels, c.set)
			if c.key != "" {
				key = c.key
			}
			r, err := parseRequest(key, labels)
			switch {
			case c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)):
				t.Errorf("%+v, %v, want %q", r, err, c.fault)
			case c.fault == "" && (err != nil || !c.check(r)):
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

// Whatever the labels are, what they say is digests and names.
func FuzzParseRequest(f *testing.F) {
	m := newRegistry().image("a", []string{"a=1", "b=2"}, nil)
	l := m.labels(1)
	f.Add(extraction(m.chains[1], 1), l[snapshots.LabelSnapshotRef], l[labelParent], l[snapshots.LabelSnapshotDiffID],
		l[snapshotters.TargetRefLabel], l[snapshotters.TargetLayerDigestLabel], l[snapshotters.TargetManifestDigestLabel])
	f.Add("default/1/extract-1-a x", "x", "", "", "a/b", "", "sha256:")
	f.Fuzz(func(t *testing.T, key, ref, parent, diffID, image, layer, manifest string) {
		r, err := parseRequest(key, map[string]string{
			snapshots.LabelSnapshotRef: ref, labelParent: parent, snapshots.LabelSnapshotDiffID: diffID,
			snapshotters.TargetRefLabel: image, snapshotters.TargetLayerDigestLabel: layer, snapshotters.TargetManifestDigestLabel: manifest,
		})
		if errors.Is(err, errNotLayer) || err != nil {
			return
		}
		said := []digest.Digest{r.chain}
		for _, d := range []digest.Digest{r.parent, r.diffID, r.layer} {
			if d != "" {
				said = append(said, d)
			}
		}
		if r.image != nil {
			said = append(said, r.image.manifest)
			if r.image.registry == "" || r.image.repository == "" || strings.Contains(r.image.repository, "..") || strings.ContainsAny(r.image.registry, "/@?# ") {
				t.Errorf("image %+v", r.image)
			}
		}
		for _, d := range said {
			if d.Validate() != nil || d.Algorithm() != digest.SHA256 {
				t.Errorf("digest %q", d)
			}
		}
	})
}

// Whatever manifest and config say, layers have digests, and the chain is what follows.
func FuzzImage(f *testing.F) {
	r := newRegistry()
	m := r.image("a", []string{"a=1", "b=2"}, nil)
	f.Add(r.blobs[m.manifest], r.blobs[m.config])
	f.Add([]byte(`{"config":{"mediaType":"`+ocispec.MediaTypeImageConfig+`"},"layers":[{}]}`), []byte(`{"rootfs":{"diff_ids":[""]}}`))
	f.Fuzz(func(t *testing.T, manifest, config []byte) {
		_, blobs, err := parseManifest(manifest)
		if err != nil {
			return
		}
		all, err := parseConfig(config, blobs)
		if err != nil {
			return
		}
		if len(all) == 0 || len(all) > maxLayers || all[0].chain != all[0].diffID {
			t.Errorf("layers %+v", all)
		}
		for i, l := range all {
			if l.index != i || l.blob.Digest.Validate() != nil || l.diffID.Validate() != nil || l.blob.Size < 0 {
				t.Errorf("layer %+v", l)
			}
			if i > 0 && l.chain != digest.FromString(all[i-1].chain.String()+" "+l.diffID.String()) {
				t.Errorf("chain ID %d is %s", i, l.chain)
			}
		}
	})
}
