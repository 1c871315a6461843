package access

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

// maxTokenLife is the longest life of a token that may travel.
const maxTokenLife = 24 * time.Hour

// maxClaims is the longest text of a token's claims that is read, in bytes.
const maxClaims = 16 << 10

// Bearer returns the token of an Authorization of scheme Bearer, "" for any other.
func Bearer(authorization string) p2p.Secret {
	scheme, value, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return p2p.Secret(strings.TrimSpace(value))
}

// Expiry reads when a JSON web token ends, without checking the token; false where it
// is none, or does not say.
func Expiry(bearer p2p.Secret) (time.Time, bool) {
	_, rest, ok := strings.Cut(string(bearer), ".")
	claims, _, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 || len(claims) > maxClaims {
		return time.Time{}, false
	}
	text, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(claims, "="))
	if err != nil {
		return time.Time{}, false
	}
	var c struct {
		Expiry *float64 `json:"exp"` // Unix seconds
	}
	const year9999 = 253402300799
	if json.Unmarshal(text, &c) != nil || c.Expiry == nil || !(*c.Expiry >= 0 && *c.Expiry <= year9999) {
		return time.Time{}, false
	}
	return time.Unix(int64(*c.Expiry), 0), true
}

// Travels reports whether a client's token may be given to a seed: one that says its own
// end, within a day. One that does not may be a password in another form.
func Travels(bearer p2p.Secret, now time.Time) bool {
	end, ok := Expiry(bearer)
	return ok && now.Before(end) && end.Sub(now) <= maxTokenLife
}
