package registry

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
)

// rangeHeader returns the Range header that asks for length bytes from offset, "" for
// the whole content. length is -1 or positive.
func rangeHeader(offset, length int64) string {
	switch {
	case offset == 0 && length < 0:
		return ""
	case length < 0 || offset > math.MaxInt64-length:
		return fmt.Sprintf("bytes=%d-", offset)
	}
	return fmt.Sprintf("bytes=%d-%d", offset, offset+length-1)
}

// contentRange is what a 206 says that it holds.
type contentRange struct {
	first, last int64 // inclusive
	size        int64 // of the whole content, -1 = not said
}

// parseContentRange reads "bytes <first>-<last>/<size or *>".
func parseContentRange(s string) (contentRange, error) {
	bad := fmt.Errorf("bad Content-Range %q", clip(s))
	rest, ok := strings.CutPrefix(s, "bytes ")
	if !ok {
		return contentRange{}, bad
	}
	span, size, ok1 := strings.Cut(rest, "/")
	first, last, ok2 := strings.Cut(span, "-")
	r := contentRange{size: -1}
	var ok3, ok4 bool
	r.first, ok3 = parseBytes(first)
	r.last, ok4 = parseBytes(last)
	if !ok1 || !ok2 || !ok3 || !ok4 || r.last < r.first {
		return contentRange{}, bad
	}
	if size != "*" {
		if r.size, ok = parseBytes(size); !ok || r.last >= r.size {
			return contentRange{}, bad
		}
	}
	return r, nil
}

// parseBytes reads a number of bytes: digits only, below the largest int64.
func parseBytes(s string) (int64, bool) {
	if strings.TrimLeft(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n < math.MaxInt64
}

// span is how an answer's body relates to what was asked for.
type span struct {
	size   int64 // of the whole content, -1 = unknown
	skip   int64 // bytes before the offset
	length int64 // bytes from the offset on, -1 = unknown
}

// spanOf checks that an answer of status 200 or 206 holds what was asked for.
// length is -1 or positive.
func spanOf(resp *http.Response, offset, length int64) (span, error) {
	asked := rangeHeader(offset, length) != ""
	switch {
	case resp.StatusCode == http.StatusOK:
		sp := span{size: resp.ContentLength, skip: offset, length: -1}
		if sp.size < 0 {
			return sp, nil
		}
		if sp.length = sp.size - offset; length >= 0 {
			sp.length = min(sp.length, length)
		}
		return sp, nil
	case resp.StatusCode != http.StatusPartialContent || !asked:
		return span{}, fmt.Errorf("status %d is no answer to this request", resp.StatusCode)
	}
	r, err := parseContentRange(resp.Header.Get("Content-Range"))
	if err != nil {
		return span{}, err
	}
	got := r.last - r.first + 1
	want := length // the least that must be there
	if r.size >= 0 {
		rest := r.size - offset
		if want < 0 || want > rest {
			want = rest
		}
	}
	if r.first != offset || got < want || resp.ContentLength >= 0 && resp.ContentLength != got {
		return span{}, fmt.Errorf("asked for %s, got bytes %d-%d of %d in a body of %d",
			rangeHeader(offset, length), r.first, r.last, r.size, resp.ContentLength)
	}
	if want < 0 {
		want = got
	}
	return span{size: r.size, length: want}, nil
}
