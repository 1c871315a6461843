package mirror

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/registry"
)

// manifest answers HEAD and GET of a manifest by tag or digest. A manifest is read
// whole and checked before a header goes out: it is small.
func (h *Handler) manifest(w *response, r *request) error {
	var known fetcher.Descriptor
	var err error
	switch {
	case r.route.tag == "":
	case r.content.Registry == "":
		return fmt.Errorf("no registry to ask for tag %s: %w", r.route.tag, errdefs.ErrNotFound)
	default:
		if known, err = h.fetcher.Resolve(r.Context(), r.content, r.route.tag); err != nil {
			return fmt.Errorf("resolve tag %s: %w", r.route.tag, err)
		}
		if err := known.Digest.Validate(); err != nil {
			return fmt.Errorf("resolve tag %s: digest %q: %w: %w", r.route.tag, known.Digest, err, errdefs.ErrDataLoss)
		}
		r.content.Digest = known.Digest
		if known.Stale {
			w.Header().Set("Warning", `110 darter "Response is Stale"`)
		}
	}
	if r.Method == http.MethodHead || notModified(r.Header, r.content.Digest) {
		return h.statManifest(w, r, known)
	}
	m, err := h.readManifest(r, known.MediaType)
	if err != nil {
		return err
	}
	w.from = m.from
	w.Header().Set("X-Darter-From", m.from)
	want, size := rangeOf(r.Header, r.content.Digest), int64(len(m.bytes))
	offset, length, ok := want.within(size)
	if !ok {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", size))
		const status = http.StatusRequestedRangeNotSatisfiable
		refusal{status, codeOf(status, false), "no byte of the manifest is in this range", nil, nil}.write(w)
		return nil
	}
	contentHeaders(w, r, m.mediaType, length)
	if want.partial {
		w.Header().Set("Content-Range", contentRange(offset, length, size))
		w.WriteHeader(http.StatusPartialContent)
	}
	_, _ = w.Write(m.bytes[offset : offset+length]) // a client that left is its own affair
	return nil
}

// statManifest answers without the bytes; it reads them where the type or size is not known.
func (h *Handler) statManifest(w *response, r *request, d fetcher.Descriptor) error {
	var err error
	if r.route.tag == "" {
		if d, err = h.fetcher.Stat(r.Context(), r.content); err != nil {
			return fmt.Errorf("stat manifest: %w", err)
		}
	}
	if d.MediaType == "" || d.MediaType == octets || d.Size <= 0 {
		m, err := h.readManifest(r, d.MediaType)
		if err != nil {
			return err
		}
		d.MediaType, d.Size, w.from = m.mediaType, int64(len(m.bytes)), m.from
	}
	contentHeaders(w, r, d.MediaType, d.Size)
	if notModified(r.Header, r.content.Digest) {
		w.notModified()
		return nil
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// manifest is a manifest's bytes and what goes with them.
type manifest struct {
	bytes     []byte
	mediaType string
	from      string
}

// readManifest reads a manifest and checks its digest. mediaType is what a registry
// said, "" = nothing.
func (h *Handler) readManifest(r *request, mediaType string) (manifest, error) {
	body, err := h.fetcher.Open(r.Context(), r.content, fetcher.All)
	if err != nil {
		return manifest{}, fmt.Errorf("open manifest: %w", err)
	}
	defer body.Close()
	if body.Size > registry.MaxManifest {
		return manifest{}, fmt.Errorf("manifest of %d bytes is too large: %w", body.Size, errdefs.ErrDataLoss)
	}
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(body, registry.MaxManifest+1))
	if err != nil {
		return manifest{}, fmt.Errorf("read manifest: %w", err)
	}
	if n > registry.MaxManifest {
		return manifest{}, fmt.Errorf("manifest is too large: %w", errdefs.ErrDataLoss)
	}
	if got := digest.FromBytes(b.Bytes()); got != r.content.Digest {
		return manifest{}, fmt.Errorf("manifest's digest is %s, want %s: %w", got, r.content.Digest, errdefs.ErrDataLoss)
	}
	m := manifest{bytes: b.Bytes(), mediaType: body.MediaType, from: body.From}
	if m.mediaType == "" || m.mediaType == octets {
		m.mediaType = mediaType
	}
	if m.mediaType == "" || m.mediaType == octets {
		m.mediaType = sniff(m.bytes)
	}
	return m, nil
}

var mediaTypePattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9!#$&^_.+-]{0,126}/[a-zA-Z0-9][a-zA-Z0-9!#$&^_.+-]{0,126}$`)

// sniff tells a manifest's type from its JSON: the type that it names, else the one
// that its members have.
func sniff(b []byte) string {
	var m struct {
		MediaType     string            `json:"mediaType"`
		SchemaVersion json.Number       `json:"schemaVersion"`
		Manifests     []json.RawMessage `json:"manifests"`
		Config        json.RawMessage   `json:"config"`
		FSLayers      []json.RawMessage `json:"fsLayers"`
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return octets
	}
	switch {
	case mediaTypePattern.MatchString(m.MediaType):
		return m.MediaType
	case m.Manifests != nil:
		return "application/vnd.oci.image.index.v1+json"
	case m.Config != nil:
		return "application/vnd.oci.image.manifest.v1+json"
	case m.FSLayers != nil:
		return "application/vnd.docker.distribution.manifest.v1+prettyjws"
	}
	return "application/json"
}
