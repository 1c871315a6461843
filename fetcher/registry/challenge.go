package registry

import (
	"net/http"
	"strings"
)

// challenge is one way in which a registry wants its reader to prove himself (RFC 9110, 11.6.1).
type challenge struct {
	scheme string // in lower case: "bearer", "basic"
	params map[string]string
}

const (
	maxChallenges = 8
	maxParams     = 16
)

// parseChallenges reads WWW-Authenticate headers. What it does not understand it
// leaves out; it never fails.
func parseChallenges(h http.Header) []challenge {
	var all []challenge
	for _, line := range h.Values("WWW-Authenticate") {
		all = appendChallenges(all, line)
	}
	return all
}

func appendChallenges(all []challenge, line string) []challenge {
	var params map[string]string // of the challenge being read
	for s := line; len(all) <= maxChallenges; {
		s = strings.TrimLeft(s, " \t,")
		word, rest := cutToken(s)
		if word == "" {
			return all
		}
		after := strings.TrimLeft(rest, " \t")
		if params != nil && strings.HasPrefix(after, "=") {
			value, rest, ok := cutValue(strings.TrimLeft(after[1:], " \t"))
			if !ok {
				return all
			}
			if key := strings.ToLower(word); len(params) < maxParams {
				if _, twice := params[key]; !twice {
					params[key] = value
				}
			}
			s = rest
			continue
		}
		if len(all) == maxChallenges {
			return all
		}
		params = map[string]string{}
		all = append(all, challenge{scheme: strings.ToLower(word), params: params})
		s = rest
	}
	return all
}

// cutToken cuts the longest token (RFC 9110, 5.6.2) off the front of s.
func cutToken(s string) (token, rest string) {
	i := 0
	for i < len(s) && isTokenChar(s[i]) {
		i++
	}
	return s[:i], s[i:]
}

func isTokenChar(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// cutValue cuts a token or a quoted string off the front of s.
func cutValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		// Some registries send realm=https://… without quotes.
		i := strings.IndexAny(s, ", \t")
		if i < 0 {
			i = len(s)
		}
		return s[:i], s[i:], true
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			if i++; i == len(s) {
				return "", "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}
