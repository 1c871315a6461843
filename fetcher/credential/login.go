package credential

import (
	"encoding/base64"

	"github.com/darter-p2p/darter/fetcher/registry"
)

// login is a credential as files and programs hold it.
type login struct {
	user, password string
	identity       string // a refresh token, which a token server exchanges
	bearer         string // a token for the registry itself
}

// authorization returns the login as the value of an Authorization header, "" for an
// empty one.
func (l login) authorization() string {
	switch {
	case l.bearer != "":
		return "Bearer " + l.bearer
	case l.identity != "":
		return registry.IdentityAuthorization(l.identity)
	case l.user != "" || l.password != "":
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(l.user+":"+l.password))
	}
	return ""
}

// String keeps a login that is printed by mistake from being read.
func (l login) String() string { return "[login]" }

// GoString is String.
func (l login) GoString() string { return l.String() }
