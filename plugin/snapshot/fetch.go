package snapshot

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/darter-p2p/darter/fetcher"
)

// Opener gives the bytes of an image; a fetcher.Fetcher is one. Open may be called
// concurrently; reads of the Body end with ctx.
type Opener interface {
	Open(ctx context.Context, c fetcher.Content, r fetcher.Range) (*fetcher.Body, error)
}

// Credentials knows what this node may show to a registry; a credential.Source is one.
type Credentials interface {
	// Authorization returns the value of the header, "" where none is known.
	Authorization(ctx context.Context, registry, repository string) (string, error)
}

// library reads images through a node's fetcher.
type library struct {
	opener      Opener
	credentials Credentials // nil = none
	resolver    Resolver    // nil = none
}

// open returns the bytes of a content of an image's repository. What anyone may read is
// read without a credential, and so known to be public in the piece network; where that
// is refused, with the node's, and so is the rest of the image.
func (l *library) open(ctx context.Context, n *imageName, kind fetcher.Kind, d digest.Digest) (*fetcher.Body, error) {
	return ask(ctx, l, n, kind, func(c fetcher.Content) (*fetcher.Body, error) {
		c.Digest = d
		return l.opener.Open(ctx, c, fetcher.All)
	})
}

// resolve asks what a tag names now.
func (l *library) resolve(ctx context.Context, n *imageName, tag string) (digest.Digest, error) {
	d, err := ask(ctx, l, n, fetcher.Manifest, func(c fetcher.Content) (fetcher.Descriptor, error) { return l.resolver.Resolve(ctx, c, tag) })
	return d.Digest, err
}

// manifestTypes are what is accepted for manifests.
var manifestTypes = strings.Join([]string{
	ocispec.MediaTypeImageManifest, images.MediaTypeDockerSchema2Manifest, ocispec.MediaTypeImageIndex, images.MediaTypeDockerSchema2ManifestList,
}, ", ")

// ask asks a question of an image's repository, as open says.
func ask[T any](ctx context.Context, l *library, n *imageName, kind fetcher.Kind, question func(fetcher.Content) (T, error)) (answer T, err error) {
	c := fetcher.Content{Registry: n.registry, Repository: n.repository, Kind: kind, Header: http.Header{}}
	if kind == fetcher.Manifest {
		c.Header.Set("Accept", manifestTypes)
	}
	var refusal error
	if !n.private.Load() {
		answer, err := question(c)
		if err == nil || !isRefusal(err) || l.credentials == nil {
			return answer, err
		}
		refusal = err
	}
	value, err := l.credentials.Authorization(ctx, n.registry, n.repository)
	if value == "" {
		return answer, errors.Join(cmp.Or(refusal, fmt.Errorf("no credential: %w", errdefs.ErrUnauthenticated)), err)
	}
	c.Header.Set("Authorization", value)
	if answer, err = question(c); err == nil {
		n.private.Store(true)
	}
	return answer, err
}

func isRefusal(err error) bool { return errdefs.IsUnauthorized(err) || errdefs.IsPermissionDenied(err) }

// document returns a small content whose digest is verified.
func (l *library) document(ctx context.Context, n *imageName, kind fetcher.Kind, d digest.Digest) ([]byte, error) {
	body, err := l.open(ctx, n, kind, d)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var b bytes.Buffer
	switch k, err := io.Copy(&b, io.LimitReader(body, maxDocument+1)); {
	case err != nil:
		return nil, err
	case k > maxDocument:
		return nil, fmt.Errorf("it is longer than %d bytes: %w", maxDocument, errdefs.ErrOutOfRange)
	case digest.FromBytes(b.Bytes()) != d:
		return nil, fmt.Errorf("its digest is %s: %w", digest.FromBytes(b.Bytes()), errdefs.ErrDataLoss)
	}
	return b.Bytes(), nil
}

// image reads an image's manifest and config.
func (l *library) image(ctx context.Context, n *imageName) (*image, error) {
	manifest, err := l.document(ctx, n, fetcher.Manifest, n.manifest)
	if err != nil {
		return nil, fetchFault("read manifest "+n.manifest.String(), noManifest, err)
	}
	config, blobs, err := parseManifest(manifest)
	if err != nil {
		return nil, because(noManifest, err)
	}
	said, err := l.document(ctx, n, fetcher.Blob, config.Digest)
	if err != nil {
		return nil, fetchFault("read config "+config.Digest.String(), noManifest, err)
	}
	layers, err := parseConfig(said, blobs)
	if err != nil {
		return nil, because(noManifest, err)
	}
	settings, err := settingsOf(said)
	if err != nil {
		return nil, because(noManifest, err)
	}
	return &image{name: n, layers: layers, settings: settings}, nil
}

// layer opens the compressed bytes of a layer. An empty one is not asked for: no
// registry and no piece has a byte of it.
func (l *library) layer(ctx context.Context, n *imageName, blob ocispec.Descriptor) (io.ReadCloser, error) {
	if blob.Digest == digest.FromString("") {
		return io.NopCloser(strings.NewReader("")), nil
	}
	body, err := l.open(ctx, n, fetcher.Blob, blob.Digest)
	if err != nil {
		return nil, fetchFault("fetch layer "+blob.Digest.String(), notFetched, err)
	}
	return body, nil
}
