package httpread

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/darter-p2p/darter/fetcher/source"
)

// RangeHeader returns the Range header that asks for length bytes from offset, "" for
// the whole content. length is -1 or positive.
func RangeHeader(offset, length int64) string {
	switch {
	case offset == 0 && length < 0:
		return ""
	case length < 0 || offset > math.MaxInt64-length:
		return fmt.Sprintf("bytes=%d-", offset)
	}
	return fmt.Sprintf("bytes=%d-%d", offset, offset+length-1)
}

// ContentRange is what a 206 says that it holds.
type ContentRange struct {
	First, Last int64 // inclusive
	Size        int64 // of the whole content, -1 = not said
}

// ParseContentRange reads "bytes <first>-<last>/<size or *>".
func ParseContentRange(s string) (ContentRange, error) {
	bad := fmt.Errorf("bad Content-Range %q", source.Clip(s))
	rest, ok := strings.CutPrefix(s, "bytes ")
	if !ok {
		return ContentRange{}, bad
	}
	span, size, ok1 := strings.Cut(rest, "/")
	first, last, ok2 := strings.Cut(span, "-")
	r := ContentRange{Size: -1}
	var ok3, ok4 bool
	r.First, ok3 = parseBytes(first)
	r.Last, ok4 = parseBytes(last)
	if !ok1 || !ok2 || !ok3 || !ok4 || r.Last < r.First {
		return ContentRange{}, bad
	}
	if size != "*" {
		if r.Size, ok = parseBytes(size); !ok || r.Last >= r.Size {
			return ContentRange{}, bad
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

// Span is how an answer's body relates to what was asked for.
type Span struct {
	Size   int64 // of the whole content, -1 = unknown
	Skip   int64 // bytes before the offset
	Length int64 // bytes from the offset on, -1 = unknown
}

// SpanOf checks that an answer of status 200 or 206 holds what was asked for.
// length is -1 or positive.
func SpanOf(resp *http.Response, offset, length int64) (Span, error) {
	asked := RangeHeader(offset, length) != ""
	switch {
	case resp.StatusCode == http.StatusOK:
		sp := Span{Size: resp.ContentLength, Skip: offset, Length: -1}
		if sp.Size < 0 {
			return sp, nil
		}
		if sp.Length = sp.Size - offset; length >= 0 {
			sp.Length = min(sp.Length, length)
		}
		return sp, nil
	case resp.StatusCode != http.StatusPartialContent || !asked:
		return Span{}, fmt.Errorf("status %d is no answer to this request", resp.StatusCode)
	}
	r, err := ParseContentRange(resp.Header.Get("Content-Range"))
	if err != nil {
		return Span{}, err
	}
	got := r.Last - r.First + 1
	want := length // the least that must be there
	if r.Size >= 0 {
		rest := r.Size - offset
		if want < 0 || want > rest {
			want = rest
		}
	}
	if r.First != offset || got < want || resp.ContentLength >= 0 && resp.ContentLength != got {
		return Span{}, fmt.Errorf("asked for %s, got bytes %d-%d of %d in a body of %d",
			RangeHeader(offset, length), r.First, r.Last, r.Size, resp.ContentLength)
	}
	if want < 0 {
		want = got
	}
	return Span{Size: r.Size, Length: want}, nil
}
