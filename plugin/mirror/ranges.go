package mirror

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/fetcher"
)

// wanted is the part of a content that a request asks for.
type wanted struct {
	fetcher.Range
	partial bool // a range was asked for: answer 206
	nothing bool // a range that holds no byte of any content: answer 416
}

// rangeOf reads a request's Range. A header that is malformed, of another unit, of
// several ranges, or of another version of the content (If-Range) asks for the
// whole, as RFC 9110 allows.
func rangeOf(h http.Header, d digest.Digest) wanted {
	if v := h.Get("If-Range"); v != "" && v != etag(d) {
		return wanted{Range: fetcher.All}
	}
	return parseRange(h.Get("Range"))
}

func parseRange(s string) wanted {
	whole := wanted{Range: fetcher.All}
	unit, spec, ok := strings.Cut(s, "=")
	if !ok || !strings.EqualFold(strings.TrimSpace(unit), "bytes") || strings.Contains(spec, ",") {
		return whole
	}
	first, last, ok := strings.Cut(strings.TrimSpace(spec), "-")
	if !ok {
		return whole
	}
	a, okA := parseBytes(first)
	b, okB := parseBytes(last)
	switch {
	case first == "" && okB: // the last b bytes
		return wanted{Range: fetcher.Range{Offset: -b, Length: -1}, partial: true, nothing: b == 0}
	case okA && last == "":
		return wanted{Range: fetcher.Range{Offset: a, Length: -1}, partial: true}
	case okA && okB && b >= a:
		return wanted{Range: fetcher.Range{Offset: a, Length: b - a + 1}, partial: true}
	}
	return whole
}

// parseBytes reads a number of bytes: digits only. What is too large for any content
// is the largest number, less one so that a length can be made of it.
func parseBytes(s string) (int64, bool) {
	if s == "" || strings.TrimLeft(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		n = math.MaxInt64
	}
	return min(n, math.MaxInt64-1), true
}

// within cuts the range to a content of the given size; false if no byte is left.
func (w wanted) within(size int64) (offset, length int64, ok bool) {
	offset, length = w.Offset, w.Length
	switch {
	case w.nothing:
		return 0, 0, false
	case offset < 0:
		offset = max(size+offset, 0)
		length = size - offset
	case length < 0 || length > size-offset:
		length = size - offset
	}
	if w.partial && length <= 0 {
		return 0, 0, false
	}
	return offset, length, true
}

func contentRange(offset, length, size int64) string {
	return fmt.Sprintf("bytes %d-%d/%d", offset, offset+length-1, size)
}

// etag is the strong entity tag of a content.
func etag(d digest.Digest) string { return `"` + d.String() + `"` }

// notModified reports whether the client has the content already (If-None-Match).
func notModified(h http.Header, d digest.Digest) bool {
	for _, line := range h.Values("If-None-Match") {
		for tag := range strings.SplitSeq(line, ",") {
			tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
			if tag == "*" || tag == etag(d) {
				return true
			}
		}
	}
	return false
}
