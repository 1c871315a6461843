// Package door is darterd's side of the lazy loader: it answers the mount server's
// questions for parts of blobs, at BlobPath of api/darterd/v1, through the fetcher and
// with the node's own credentials where a registry wants one.
package door

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/opencontainers/go-digest"

	darterdv1 "github.com/darter-p2p/darter/api/darterd/v1"
	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/internal/block"
)

// Opener gives the bytes of blobs; a fetcher.Fetcher is one.
type Opener interface {
	Open(ctx context.Context, c fetcher.Content, r fetcher.Range) (*fetcher.Body, error)
	// Accuse says that bytes which a host sent, and nobody had verified, were wrong.
	Accuse(d digest.Digest, host string) error
}

// Credentials knows what this node may show to a registry; a credential.Source is one.
type Credentials interface {
	// Authorization returns the value of the header, "" where none is known.
	Authorization(ctx context.Context, registry, repository string) (string, error)
}

// Handler is the door.
type Handler struct {
	opener      Opener
	credentials Credentials // nil = none

	mu      sync.Mutex
	private map[place]bool // repositories that refused to answer without a credential
}

// place is a repository.
type place struct{ registry, repository string }

// maxPrivate bounds what is remembered.
const maxPrivate = 10_000

// New returns a door; with credentials nil it reads what is public.
func New(o Opener, c Credentials) *Handler {
	return &Handler{opener: o, credentials: c, private: map[place]bool{}}
}

// ServeHTTP implements http.Handler. It breaks a body that cannot be finished by a
// panic with http.ErrAbortHandler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, want, err := parse(r)
	if err != nil {
		refuse(w, err)
		return
	}
	body, err := h.open(r.Context(), c, want)
	if errors.As(err, new(*block.Error)) { // the image is mounted: its containers read on, past the piece network
		c.Direct = true
		body, err = h.open(r.Context(), c, want)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	defer body.Close()
	if body.Offset != want.Offset || body.Length != want.Length {
		refuse(w, fmt.Errorf("the blob has %d bytes: %w", body.Size, errdefs.ErrOutOfRange))
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(want.Length, 10))
	w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", want.Offset, want.Offset+want.Length-1, body.Size))
	w.Header().Set(darterdv1.FromHeader, body.From)
	if body.Unverified != "" {
		w.Header().Set(darterdv1.UnverifiedHeader, body.Unverified)
	}
	w.WriteHeader(http.StatusPartialContent)
	if n, err := io.Copy(w, body.ReadCloser); err != nil {
		if r.Context().Err() == nil {
			log.G(r.Context()).WithError(err).WithFields(log.Fields{"blob": c.Digest, "sent": n}).Warn("a part of a blob could not be finished")
		}
		panic(http.ErrAbortHandler)
	}
}

// Wrong answers WrongPath.
func (h *Handler) Wrong(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	blob, host := digest.Digest(q.Get(darterdv1.DigestParam)), q.Get(darterdv1.HostParam)
	if err := h.opener.Accuse(blob, host); err != nil {
		refuse(w, err)
		return
	}
	log.G(r.Context()).WithFields(log.Fields{"blob": blob, "host": host}).Warn("a host sent wrong bytes of a blob")
	w.WriteHeader(http.StatusNoContent)
}

// open reads without a credential, so that what is public is known as public in the
// piece network; where that is refused, with the node's.
func (h *Handler) open(ctx context.Context, c fetcher.Content, want fetcher.Range) (*fetcher.Body, error) {
	at := place{c.Registry, c.Repository}
	h.mu.Lock()
	private := h.private[at]
	h.mu.Unlock()
	var refusal error
	if !private {
		body, err := h.opener.Open(ctx, c, want)
		// Registries hide what is private by a 404, too.
		if err == nil || h.credentials == nil || !errdefs.IsUnauthorized(err) && !errdefs.IsPermissionDenied(err) && !errdefs.IsNotFound(err) {
			return body, err
		}
		refusal = err
	}
	value, err := h.credentials.Authorization(ctx, at.registry, at.repository)
	if value == "" {
		return nil, errors.Join(cmp.Or(refusal, fmt.Errorf("no credential: %w", errdefs.ErrUnauthenticated)), err)
	}
	c.Header.Set("Authorization", value)
	body, err := h.opener.Open(ctx, c, want)
	if err == nil {
		h.mu.Lock()
		if len(h.private) >= maxPrivate {
			clear(h.private)
		}
		h.private[at] = true
		h.mu.Unlock()
	}
	return body, err
}

// parse reads a request.
func parse(r *http.Request) (c fetcher.Content, want fetcher.Range, err error) {
	q := r.URL.Query()
	bad := func(text string, args ...any) error {
		return fmt.Errorf(text+": %w", append(args, errdefs.ErrInvalidArgument)...)
	}
	c = fetcher.Content{
		Registry: q.Get(darterdv1.RegistryParam), Repository: q.Get(darterdv1.RepositoryParam), Kind: fetcher.Blob,
		Digest: digest.Digest(q.Get(darterdv1.DigestParam)), Listed: digest.Digest(q.Get(darterdv1.ManifestParam)), Header: http.Header{}, Direct: q.Get(darterdv1.OriginParam) == "1",
		Verifies: q.Get(darterdv1.VerifiesParam) == "1",
	}
	if c.Registry == "" || c.Repository == "" {
		return c, want, bad("registry or repository is empty")
	}
	if c.Digest.Validate() != nil || c.Digest.Algorithm() != digest.SHA256 {
		return c, want, bad("want the digest as sha256:<64 hex digits>")
	}
	if c.Listed != "" && (c.Listed.Validate() != nil || c.Listed.Algorithm() != digest.SHA256) {
		return c, want, bad("want the manifest as sha256:<64 hex digits>")
	}
	switch need := q.Get(darterdv1.NeedParam); need {
	case darterdv1.NeedUrgent:
		c.Urgent = true
	case darterdv1.NeedBackground:
		c.Background = true
	case darterdv1.NeedWindow:
	default:
		return c, want, bad("want need as urgent, window or background")
	}
	first, last, ok := strings.Cut(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-")
	from, err1 := strconv.ParseUint(first, 10, 62)
	to, err2 := strconv.ParseUint(last, 10, 62)
	if !ok || err1 != nil || err2 != nil || to < from {
		return c, want, bad("want a range as bytes=<first>-<last>")
	}
	return c, fetcher.Range{Offset: int64(from), Length: int64(to-from) + 1}, nil
}

// refusals are the statuses and codes of error classes, the first that fits.
var refusals = []struct {
	is     func(error) bool
	status int
	code   string
}{
	{errdefs.IsInvalidArgument, http.StatusBadRequest, darterdv1.CodeInvalid},
	{errdefs.IsUnauthorized, http.StatusUnauthorized, darterdv1.CodeUnauthorized},
	{errdefs.IsPermissionDenied, http.StatusForbidden, darterdv1.CodeDenied},
	{errdefs.IsNotFound, http.StatusNotFound, darterdv1.CodeNotFound},
	{errdefs.IsOutOfRange, http.StatusRequestedRangeNotSatisfiable, darterdv1.CodeOutOfRange},
	{errdefs.IsUnavailable, http.StatusServiceUnavailable, darterdv1.CodeUnavailable},
	{errdefs.IsResourceExhausted, http.StatusServiceUnavailable, darterdv1.CodeUnavailable},
}

func refuse(w http.ResponseWriter, err error) {
	status, code := http.StatusBadGateway, darterdv1.CodeFailed
	for _, r := range refusals {
		if r.is(err) {
			status, code = r.status, r.code
			break
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(darterdv1.Error{Message: err.Error(), Code: code}) // or the client has gone
}
