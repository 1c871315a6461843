package access

import (
	"net/url"

	"github.com/darter-p2p/darter/p2p"
)

// RegistryOf returns the host of an origin, "" where it has none.
func RegistryOf(o p2p.Origin) string {
	u, err := url.Parse(string(o))
	if err != nil {
		return ""
	}
	return u.Host
}

// Vouched reports whether the word of o's registry on who may read a content counts,
// given where the content was read. It does where every part of the content is public
// or came from the same registry. A server that merely says that it has a digest, as
// anybody's can, opens nothing that came from elsewhere.
func Vouched(o p2p.Origin, readings []p2p.Reading) bool {
	host := RegistryOf(o)
	for _, r := range readings {
		if r.Public && r.Origin != "" {
			continue
		}
		if host == "" || RegistryOf(r.Origin) != host {
			return false
		}
	}
	return len(readings) > 0
}

// Public reports whether the content is everybody's: all of it was read without a
// credential.
func Public(readings []p2p.Reading) bool {
	for _, r := range readings {
		if !r.Public || r.Origin == "" {
			return false
		}
	}
	return len(readings) > 0
}

// Of returns the reading of an origin.
func Of(o p2p.Origin, readings []p2p.Reading) (p2p.Reading, bool) {
	for _, r := range readings {
		if r.Origin == o {
			return r, true
		}
	}
	return p2p.Reading{}, false
}
