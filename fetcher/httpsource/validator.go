package httpsource

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A validator is a strong ETag with its quotes, or "<Last-Modified> <size>" where
// Last-Modified is strong.

const maxValidator = 512 // bytes

// strongAfter is how much older than the answer a Last-Modified must be, so that the
// content cannot have changed twice in its second (RFC 9110, 8.8.2.2).
const strongAfter = time.Minute

// validatorOf returns the strong validator of an answer about a content of size bytes,
// "" where it has none. It is never the validator of another size.
func validatorOf(h http.Header, size int64) string {
	if etag := h.Get("ETag"); isETag(etag) {
		return etag
	}
	modified, err := http.ParseTime(h.Get("Last-Modified"))
	if err != nil || size < 0 {
		return ""
	}
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil || date.Sub(modified) < strongAfter {
		return ""
	}
	return modified.UTC().Format(http.TimeFormat) + " " + strconv.FormatInt(size, 10)
}

// isETag reports whether s is a strong entity tag.
func isETag(s string) bool {
	if len(s) < 2 || len(s) > maxValidator || s[0] != '"' || s[len(s)-1] != '"' {
		return false
	}
	return !strings.ContainsFunc(s[1:len(s)-1], func(c rune) bool { return c == '"' || c <= ' ' || c > '~' })
}

// isValidator reports whether s is one that validatorOf makes.
func isValidator(s string) bool {
	if isETag(s) {
		return true
	}
	_, _, ok := datedValidator(s)
	return ok
}

// datedValidator reads the second form.
func datedValidator(s string) (modified string, size int64, ok bool) {
	i := strings.LastIndexByte(s, ' ')
	if i < 0 || len(s) > maxValidator {
		return "", 0, false
	}
	size, err := strconv.ParseInt(s[i+1:], 10, 64)
	at, terr := http.ParseTime(s[:i])
	if err != nil || terr != nil || size < 0 || at.UTC().Format(http.TimeFormat)+" "+strconv.FormatInt(size, 10) != s {
		return "", 0, false
	}
	return s[:i], size, true
}

// condition sets the headers by which an origin refuses, or sends the whole, where its
// content is no longer the one with the validator.
func condition(h http.Header, validator string, ranged bool) {
	value := validator
	if isETag(validator) {
		h.Set("If-Match", validator)
	} else {
		value, _, _ = datedValidator(validator)
		h.Set("If-Unmodified-Since", value)
	}
	if ranged {
		h.Set("If-Range", value)
	}
}

// proves reports whether an answer about a content of size bytes (-1 = not said) is of
// the generation with the validator. An answer that does not say is no proof.
func proves(h http.Header, size int64, validator string) bool {
	if isETag(validator) {
		return h.Get("ETag") == validator
	}
	modified, want, _ := datedValidator(validator)
	at, err := http.ParseTime(h.Get("Last-Modified"))
	return err == nil && at.UTC().Format(http.TimeFormat) == modified && size == want
}
