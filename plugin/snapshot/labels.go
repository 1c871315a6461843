package snapshot

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/reference"
	"github.com/containerd/containerd/v2/pkg/snapshotters"
	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/fetcher/registry"
)

// labelParent is the chain ID below the layer; containerd has no name for it outside of
// its unpacker.
const labelParent = "containerd.io/snapshot/parent-chain-id"

// request is what containerd says of the layer that it is about to unpack. An image's
// annotations can forge all of it but chain, so that it says where to look and what to
// compare, never what is true.
type request struct {
	chain  digest.Digest // the chain ID that containerd computed
	parent digest.Digest // the one below, "" for the lowest layer
	diffID digest.Digest // "" = not said
	image  *imageName    // nil = the client does not say which image it is
	layer  digest.Digest // of the compressed bytes
}

// imageName is where an image's manifest is.
type imageName struct {
	ref        string // as pulled, for people
	registry   string
	repository string
	manifest   digest.Digest
	private    atomic.Bool // it was refused without a credential, and given with the node's
}

// errNotLayer says that a snapshot is not to become a layer of an image.
var errNotLayer = errors.New("not a layer")

// parseRequest reads key and labels of a Prepare. A snapshot that is no layer is
// errNotLayer; labels that contradict each other or are no digests are another error.
func parseRequest(key string, labels map[string]string) (*request, error) {
	ref := labels[snapshots.LabelSnapshotRef]
	_, key, _ = strings.Cut(key, "/"+snapshots.UnpackKeyPrefix+"-") // "<namespace>/<number>/extract-<unique> <chain ID>"
	_, named, _ := strings.Cut(key, " ")
	if ref == "" || named != ref {
		return nil, errNotLayer
	}
	for _, mapping := range []string{snapshots.LabelSnapshotUIDMapping, snapshots.LabelSnapshotGIDMapping} {
		if _, ok := labels[mapping]; ok {
			return nil, errNotLayer
		}
	}
	r := &request{}
	var err error
	if r.chain, err = parseDigest(snapshots.LabelSnapshotRef, ref); err != nil {
		return nil, err
	}
	for label, to := range map[string]*digest.Digest{
		labelParent: &r.parent, snapshots.LabelSnapshotDiffID: &r.diffID, snapshotters.TargetLayerDigestLabel: &r.layer,
	} {
		if value := labels[label]; value != "" {
			if *to, err = parseDigest(label, value); err != nil {
				return nil, err
			}
		}
	}
	r.image, err = parseImageName(labels)
	if r.image != nil && r.layer == "" {
		err = fmt.Errorf("there is no label %s", snapshotters.TargetLayerDigestLabel)
	}
	return r, err
}

// parseImageName returns nil where no image is named.
func parseImageName(labels map[string]string) (*imageName, error) {
	ref, manifest := labels[snapshotters.TargetRefLabel], labels[snapshotters.TargetManifestDigestLabel]
	if ref == "" && manifest == "" {
		return nil, nil //nolint:nilnil // no name is not an error
	}
	n := &imageName{ref: ref}
	var err error
	if n.manifest, err = parseDigest(snapshotters.TargetManifestDigestLabel, manifest); err != nil {
		return nil, err
	}
	spec, err := reference.Parse(ref)
	if err == nil && !strings.HasPrefix(ref, spec.Locator) { // a user, or a path that is not clean
		err = reference.ErrInvalid
	}
	if err != nil {
		return nil, fmt.Errorf("label %s: %q: %w", snapshotters.TargetRefLabel, ref, err)
	}
	host, repository, _ := strings.Cut(spec.Locator, "/")
	if n.registry, err = registry.ParseHost(host); err == nil {
		n.repository, err = registry.ParseRepository(n.registry, repository)
	}
	if err != nil {
		return nil, fmt.Errorf("label %s: %w", snapshotters.TargetRefLabel, err)
	}
	return n, nil
}

func parseDigest(label, value string) (digest.Digest, error) {
	d, err := digest.Parse(value)
	if err == nil && d.Algorithm() != digest.SHA256 {
		err = fmt.Errorf("%q: %w", value, digest.ErrDigestUnsupported)
	}
	if err != nil {
		return "", fmt.Errorf("label %s: %w", label, err)
	}
	return d, nil
}
