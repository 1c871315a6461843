// Package fetcher answers one question: give me these bytes of this content. It
// turns a reader's range into pieces, takes the pieces from the piece network, lets
// readers share one download, and goes to the origin where the network cannot serve.
package fetcher

import (
	"context"
	"io"
	"net/http"

	"github.com/opencontainers/go-digest"
)

// Kind is what a registry content is.
type Kind string

const (
	// Blob is a layer or a config, under /v2/<repository>/blobs/.
	Blob Kind = "blobs"
	// Manifest is a manifest or an index, under /v2/<repository>/manifests/.
	Manifest Kind = "manifests"
)

// Content names a content of a registry, and who asks for it.
type Content struct {
	Registry   string        // host[:port] as clients name it ("docker.io"); "" = unknown, by digest alone
	Repository string        // "library/nginx"; "" = unknown
	Kind       Kind          //
	Digest     digest.Digest // sha256
	// Header holds the reader's own Authorization (never logged, never stored), Accept and User-Agent.
	Header http.Header
	// Urgent says that a program is blocked on these bytes, Background that nobody waits
	// for them; without either a reader takes them one after another.
	Urgent, Background bool
	// Direct asks for the registry's own bytes, past the piece network; so nothing of it is
	// blocked (Rules).
	Direct bool
	// Listed is a manifest of the same repository that names this blob, "" = none known. A
	// registry that has lost the blob and gives the reader the manifest is taken to let him
	// have the blob as well.
	Listed digest.Digest
	// Verifies says that the reader knows the digest of every byte that he asks for from
	// elsewhere, and uses none that does not have it. Where he is Urgent he may be given
	// bytes that nobody has verified (Body.Unverified); without Urgent it means nothing.
	Verifies bool
	// Application and Tag are what the reader says of himself and of the download, for
	// Rules; "" = nothing. The content is the same whatever they are.
	Application, Tag string
}

// Range is a part of a content, in bytes. Length -1 means to the end. A negative
// Offset counts from the end ("the last n bytes", Length ignored).
type Range struct {
	Offset int64
	Length int64
}

// All is the whole content.
var All = Range{0, -1}

// Body is a content's bytes on their way.
type Body struct {
	io.ReadCloser        // the bytes of the range, in order; a short body ends in an error, never in EOF
	Size          int64  // of the whole content, in bytes
	Offset        int64  // of the first byte of the range
	Length        int64  // of the range
	MediaType     string // of a manifest; "" where the origin did not say
	Validator     string // of a URL's content: the generation; "" = none that is strong
	From          string // "store", "swarm" or "origin": where the first byte comes from
	// Unverified is the neighbour that sends these bytes, which nobody has verified: they
	// are for a reader with Content.Verifies alone. "" = they are verified.
	Unverified string
	// Digest returns the sha256 that the seed computed of the whole content of a URL, as
	// soon as it is known here, at the latest when the last byte was read; "" = nobody
	// said it. It is another host's word: who needs a digest computes it. nil = never.
	Digest func() digest.Digest
}

// Descriptor is what a tag names now.
type Descriptor struct {
	Digest    digest.Digest
	Size      int64
	MediaType string
	// Stale says that the registry failed and this is what the tag named when it last answered.
	Stale bool
}

// Fetcher gives content to a node's doors. All methods may be called concurrently.
// Errors are classes of containerd/errdefs; what an origin refused is an
// *source.Error in their chain. A call returns within a bounded time or with its
// context: a Body is returned only when its first byte is sure.
type Fetcher interface {
	// Open returns the bytes of a range of c. The caller closes the Body; the end of ctx
	// ends a Read of it too. A range is cut at the end of the content; one that holds no
	// byte of it is ErrOutOfRange.
	Open(ctx context.Context, c Content, r Range) (*Body, error)
	// Stat returns the size and media type of c without its bytes.
	Stat(ctx context.Context, c Content) (Descriptor, error)
	// Resolve asks the registry what a tag names. c.Digest is ignored.
	Resolve(ctx context.Context, c Content, tag string) (Descriptor, error)
}
