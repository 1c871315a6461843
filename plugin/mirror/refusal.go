package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/fetcher/source"
)

// statusOf maps an error of the fetcher to the status that makes a client do the
// right thing: what the origin said where it said something, 503 where there is no
// answer to be had, so that the client goes on to its next host.
func statusOf(err error) int {
	var said *source.Error
	if errors.As(err, &said) && said.Status >= 400 && said.Status != http.StatusLoopDetected {
		return said.Status
	}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable
	case errors.As(err, &said) && said.Status != 0:
		return http.StatusBadGateway // an answer of no use
	case errdefs.IsNotFound(err):
		return http.StatusNotFound
	case errdefs.IsUnauthorized(err):
		return http.StatusUnauthorized
	case errdefs.IsPermissionDenied(err):
		return http.StatusForbidden
	case errdefs.IsOutOfRange(err):
		return http.StatusRequestedRangeNotSatisfiable
	case errdefs.IsInvalidArgument(err):
		return http.StatusBadRequest
	case errdefs.IsNotImplemented(err):
		return http.StatusNotFound
	case errdefs.IsDataLoss(err):
		return http.StatusBadGateway
	case errdefs.IsUnavailable(err), errdefs.IsResourceExhausted(err):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// codeOf is the distribution specification's code for a status.
func codeOf(status int, blob bool) string {
	switch status {
	case http.StatusBadRequest:
		return "NAME_INVALID"
	case http.StatusUnauthorized:
		return "UNAUTHORIZED"
	case http.StatusForbidden:
		return "DENIED"
	case http.StatusNotFound:
		if blob {
			return "BLOB_UNKNOWN"
		}
		return "MANIFEST_UNKNOWN"
	case http.StatusMethodNotAllowed:
		return "UNSUPPORTED"
	case http.StatusRequestedRangeNotSatisfiable:
		return "RANGE_INVALID"
	case http.StatusTooManyRequests:
		return "TOOMANYREQUESTS"
	}
	return "UNAVAILABLE"
}

// refusal is an error as it goes to the client.
type refusal struct {
	status  int
	code    string
	message string
	header  http.Header // of the origin: WWW-Authenticate, Retry-After
	body    []byte      // the origin's own words, where they are the JSON that clients read
}

func refusalOf(err error, blob bool) refusal {
	status := statusOf(err)
	f := refusal{status: status, code: codeOf(status, blob), message: err.Error()}
	var said *source.Error
	if errors.As(err, &said) && said.Status == status {
		f.header = said.Header
		if strings.Contains(said.Header.Get("Content-Type"), "json") && json.Valid(said.Body) {
			f.body = said.Body
		}
		if said.RetryAfter > 0 && said.Header.Get("Retry-After") == "" {
			f.header = said.Header.Clone()
			if f.header == nil {
				f.header = http.Header{}
			}
			f.header.Set("Retry-After", strconv.FormatInt(int64(said.RetryAfter/time.Second), 10))
		}
	}
	return f
}

// write sends the refusal.
func (f refusal) write(w http.ResponseWriter) {
	for _, name := range []string{"WWW-Authenticate", "Retry-After", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"} {
		if v := f.header.Values(name); len(v) > 0 {
			w.Header()[http.CanonicalHeaderKey(name)] = v
		}
	}
	body := f.body
	if body == nil {
		type entry struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		}
		// Two strings always encode.
		body, _ = json.Marshal(map[string][]entry{"errors": {{f.code, f.message}}})
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(f.status)
	w.Write(body)
}
