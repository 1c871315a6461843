package fetcher

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/containerd/log"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/darter-p2p/darter/p2p"
)

// maxManifest is the largest manifest that is read, in bytes, as registries bound it.
const maxManifest = 4 << 20

// permitByList decides about a reader of a blob that its registry no longer has (gone is
// its answer): who is given the manifest that names the blob, of the same repository, may
// have it, for registries give rights to repositories. It is remembered as the registry's
// yes to the blob.
func (l *Local) permitByList(ctx context.Context, w wish, gone error) error {
	manifest, err := l.manifest(ctx, w)
	if err != nil {
		return fmt.Errorf("%w; and the manifest that names it: %w", gone, err)
	}
	named := false
	for _, d := range append(manifest.Layers, manifest.Config) {
		task, err := p2p.TaskOfDigest(d.Digest)
		named = named || err == nil && task == w.task
	}
	if !named {
		return fmt.Errorf("%w; and %s does not name it", gone, w.listed.Digest)
	}
	l.counts.check("listed")
	log.G(ctx).WithField("origin", w.origin).WithField("manifest", w.listed.Digest).Debug("The registry has lost a blob whose manifest it gives to a reader")
	l.learn(l.key(w.origin, w.header), w.header, nil)
	return nil
}

// manifest reads the manifest that a wish names, with the credential of the wish and no
// other, and checks its digest.
func (l *Local) manifest(ctx context.Context, w wish) (m ocispec.Manifest, err error) {
	c := w.listed
	if c.Header = w.header.Clone(); c.Header == nil {
		c.Header = http.Header{}
	}
	c.Header.Set("Accept", ocispec.MediaTypeImageManifest+", application/vnd.docker.distribution.manifest.v2+json")
	body, err := l.Open(ctx, c, All)
	if err != nil {
		return m, err
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, maxManifest))
	if err != nil {
		return m, err
	}
	if digest.FromBytes(b) != c.Digest {
		return m, fmt.Errorf("%s: these are other bytes", c.Digest)
	}
	return m, json.Unmarshal(b, &m)
}
