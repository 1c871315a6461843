package httpsource

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
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

// momentLength is how far apart, by the origin's own clock, two questions may be that are
// answered by one reading of a content without a validator.
const momentLength = 10 * time.Second

// momentOf returns what answers have in common that may be one: the origin's clock, cut to
// momentLength, and whatever else tells versions apart; "" where an answer must not be
// shared, or has no date.
func momentOf(h http.Header, size int64) string {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil || date.Unix() < 0 || len(h.Values("Vary")) > 0 && strings.TrimSpace(h.Get("Vary")) == "*" {
		return ""
	}
	for _, line := range h.Values("Cache-Control") {
		for word := range strings.SplitSeq(line, ",") {
			switch name, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(word)), "="); name {
			case "no-store", "no-cache", "private":
				return ""
			}
		}
	}
	of := sha256.Sum256(fmt.Appendf(nil, "%d %d %q %q", date.Unix()/int64(momentLength/time.Second), size, h.Get("ETag"), h.Get("Last-Modified")))
	return hex.EncodeToString(of[:8])
}
