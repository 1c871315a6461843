package mirror

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/source"
)

const octets = "application/octet-stream"

// blob answers HEAD and GET of a blob.
func (h *Handler) blob(w *response, r *request) error {
	if r.Method == http.MethodHead || notModified(r.Header, r.content.Digest) {
		return h.statBlob(w, r)
	}
	want := rangeOf(r.Header, r.content.Digest)
	if want.nothing {
		return h.unsatisfiable(w, r, nil)
	}
	if want.partial && h.broken.resumes(brokenKey{r.client, r.content.Digest}, want.Offset, time.Now()) {
		return fmt.Errorf("this body broke a moment ago, read the rest elsewhere: %w", errdefs.ErrUnavailable)
	}
	body, err := h.fetcher.Open(r.Context(), r.content, want.Range)
	if errdefs.IsOutOfRange(err) {
		return h.unsatisfiable(w, r, err)
	}
	if err != nil {
		return fmt.Errorf("open blob: %w", err)
	}
	defer body.Close()
	if want.partial && body.Length == 0 {
		return h.unsatisfiable(w, r, nil)
	}
	w.from = body.From
	contentHeaders(w, r, body.MediaType, body.Length)
	w.Header().Set("X-Darter-From", body.From)
	if want.partial {
		w.Header().Set("Content-Range", contentRange(body.Offset, body.Length, body.Size))
		w.WriteHeader(http.StatusPartialContent)
	} else {
		w.WriteHeader(http.StatusOK)
	}
	h.copy(w, r, body)
	return nil
}

func (h *Handler) statBlob(w *response, r *request) error {
	d, err := h.fetcher.Stat(r.Context(), r.content)
	if err != nil {
		return fmt.Errorf("stat blob: %w", err)
	}
	contentHeaders(w, r, d.MediaType, d.Size)
	if notModified(r.Header, r.content.Digest) {
		w.notModified()
		return nil
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// unsatisfiable answers a range that holds no byte of the content, and names its size.
func (h *Handler) unsatisfiable(w *response, r *request, err error) error {
	var said *source.Error
	if errors.As(err, &said) && said.Header.Get("Content-Range") != "" {
		w.Header().Set("Content-Range", said.Header.Get("Content-Range"))
	} else if d, err := h.fetcher.Stat(r.Context(), r.content); err != nil {
		return fmt.Errorf("stat blob: %w", err)
	} else {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", d.Size))
	}
	const status = http.StatusRequestedRangeNotSatisfiable
	refusal{status, codeOf(status, true), "no byte of the content is in this range", nil, nil}.write(w)
	return nil
}

// contentHeaders sets what HEAD and GET say of a content. length is of the body, in bytes.
func contentHeaders(w http.ResponseWriter, r *request, mediaType string, length int64) {
	if mediaType == "" {
		mediaType = octets
	}
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Content-Length", strconv.FormatInt(length, 10))
	h.Set("Docker-Content-Digest", r.content.Digest.String())
	h.Set("ETag", etag(r.content.Digest))
	h.Set("Accept-Ranges", "bytes")
	if r.route.kind == fetcher.Blob {
		h.Set("X-Content-Type-Options", "nosniff")
	}
}
