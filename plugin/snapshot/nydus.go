package snapshot

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/containerd/nydus-snapshotter/pkg/label"
	"github.com/containerd/nydus-snapshotter/pkg/layout"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/darter-p2p/darter/plugin/rafs"
)

// role is what a layer is to its image.
type role string

const (
	ordinary  role = ""
	data      role = "data"      // a Nydus data blob: read by chunks, never unpacked
	bootstrap role = "bootstrap" // the metadata of a Nydus image: its last layer
)

// rolesOf says what each layer of a manifest is. A Nydus image has data blobs and then
// one bootstrap, and nothing else.
func rolesOf(layers []ocispec.Descriptor) ([]role, error) {
	roles := make([]role, len(layers))
	for i, l := range layers {
		switch {
		case label.IsNydusMetaLayer(l.Annotations):
			roles[i] = bootstrap
		case label.IsNydusDataLayer(l.Annotations):
			roles[i] = data
		}
	}
	if !slices.ContainsFunc(roles, func(r role) bool { return r != ordinary }) {
		return roles, nil
	}
	for i, r := range roles {
		want := data
		if i == len(roles)-1 {
			want = bootstrap
		}
		if r != want {
			return nil, fmt.Errorf("manifest: a Nydus image whose layer %d is not its %s: %w", i, want, errdefs.ErrInvalidArgument)
		}
	}
	return roles, nil
}

// isLazy reports whether the labels of a Prepare are of a layer that containerd itself
// can do nothing with.
func isLazy(labels map[string]string) bool {
	return label.IsNydusDataLayer(labels) || label.IsNydusMetaLayer(labels)
}

// dataBlobs are the data blobs of a Nydus image.
func (m *image) dataBlobs() (all []digest.Digest) {
	for _, l := range m.layers {
		if l.role == data {
			all = append(all, l.blob.Digest)
		}
	}
	return all
}

// bootstrapPath returns where the bootstrap is in an unpacked bootstrap layer. Nothing on
// the way there is a link.
func bootstrapPath(files string) (string, error) {
	for _, name := range []string{layout.BootstrapFile, layout.LegacyBootstrapFile} {
		path := filepath.Join(files, name)
		dir, err := os.Lstat(filepath.Dir(path))
		if err != nil || !dir.IsDir() {
			continue
		}
		if fi, err := os.Lstat(path); err == nil && fi.Mode().IsRegular() {
			return path, nil
		}
	}
	return "", fmt.Errorf("the bootstrap layer has no file %s: %w", layout.BootstrapFile, errdefs.ErrInvalidArgument)
}

// checkBootstrap reports whether an unpacked bootstrap layer can be mounted: that it is
// RAFS v6 as the loader knows it, and names no other blobs than those of its manifest.
func checkBootstrap(files string, blobs []digest.Digest) error {
	path, err := bootstrapPath(files)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	header := make([]byte, layout.MaxSuperBlockSize)
	n, err := f.ReadAt(header, 0)
	if err != nil && n == 0 && err != io.EOF { //nolint:errorlint // ReadAt returns it bare
		return err
	}
	if version, err := layout.DetectFsVersion(header[:n]); err == nil && version == layout.RafsV5 {
		return fmt.Errorf("the image is RAFS v5, which the kernel cannot mount; convert it again with --fs-version 6: %w", errdefs.ErrNotImplemented)
	}
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	im, err := rafs.Open(f, fi.Size(), rafs.DefaultLimits())
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	if err := im.CheckBlobs(blobs); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	return nil
}
