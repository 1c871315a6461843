package credential

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/darter-p2p/darter/fetcher/source"
)

// dockerFile is what a docker config file says of registries.
type dockerFile struct {
	ring    keyring
	helpers map[string]string // helper's name by registry (credHelpers)
	store   string            // helper of the others (credsStore), "" = none
	answers *memo[login]      // of the helpers
}

var errNoDockerConfig = errors.New("not a docker config file")

// parseDocker reads a docker config file. Its errors hold none of its values.
func parseDocker(b []byte) (*dockerFile, error) {
	var c struct {
		Auths map[string]struct {
			Auth          string `json:"auth"`
			Username      string `json:"username"`
			Password      string `json:"password"`
			IdentityToken string `json:"identitytoken"`
			RegistryToken string `json:"registrytoken"`
		} `json:"auths"`
		CredHelpers map[string]string `json:"credHelpers"`
		CredsStore  string            `json:"credsStore"`
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, errNoDockerConfig // the cause may quote a value
	}
	f := &dockerFile{helpers: map[string]string{}, store: c.CredsStore, answers: newMemo[login]()}
	logins := map[string]login{}
	for name, a := range c.Auths {
		l := login{user: a.Username, password: a.Password, identity: a.IdentityToken, bearer: a.RegistryToken}
		if a.Auth != "" {
			var ok bool
			if l.user, l.password, ok = decodeAuth(a.Auth); !ok {
				return nil, fmt.Errorf("auths of %q: auth is not the base64 of user:password", source.Clip(name))
			}
		}
		if strings.ContainsFunc(l.bearer, notTokenText) {
			return nil, fmt.Errorf("auths of %q: registrytoken is not a token", source.Clip(name))
		}
		logins[name] = l
	}
	f.ring = newKeyring(logins)
	for name, helper := range c.CredHelpers {
		if !safeName(helper) {
			return nil, fmt.Errorf("credHelpers of %q: not a helper's name", source.Clip(name))
		}
		f.helpers[placeName(name)] = helper
	}
	if f.store != "" && !safeName(f.store) {
		return nil, errors.New("credsStore: not a helper's name")
	}
	return f, nil
}

// decodeAuth reads the base64 of "user:password", padded or not.
func decodeAuth(s string) (user, password string, ok bool) {
	text, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(s), "="))
	if err != nil {
		return "", "", false
	}
	user, password, ok = strings.Cut(string(text), ":")
	return user, strings.Trim(password, "\x00"), ok && user != ""
}

// helper returns who is asked for a registry's login, and under which name; "" = nobody.
func (f *dockerFile) helper(registry string) (name, server string) {
	names, server := []string{registry}, registry
	if registry == hub {
		names, server = []string{"index.docker.io", hub, "registry-1.docker.io"}, hubServer
	}
	for _, n := range names {
		if h := f.helpers[n]; h != "" {
			return h, server
		}
	}
	return f.store, server
}

// parseHelper reads what a docker credential helper answered to "get".
func parseHelper(b []byte) (login, error) {
	var a struct{ Username, Secret string }
	if err := json.Unmarshal(b, &a); err != nil {
		return login{}, errors.New("the answer is no credential")
	}
	switch {
	case a.Secret == "":
		return login{}, nil
	case a.Username == "<token>":
		return login{identity: a.Secret}, nil
	}
	return login{user: a.Username, password: a.Secret}, nil
}

func notTokenText(r rune) bool { return r <= ' ' || r > '~' }
