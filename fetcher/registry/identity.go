package registry

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"

	"github.com/darter-p2p/darter/fetcher/source/httpread"
)

// identityUser stands for the user in the credential of a refresh token, as in docker's
// credential helpers.
const identityUser = "<token>"

// IdentityAuthorization returns the Authorization of a reader who has a refresh token
// (docker's "identity token"). It never goes to a registry as it is: a Source sends the
// token to the token server that the registry names, and to nobody else.
func IdentityAuthorization(token string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(identityUser+":"+token))
}

// identityOf returns the refresh token in an Authorization, "" if it is another one.
func identityOf(authorization string) string {
	if !isScheme(authorization, "Basic") {
		return ""
	}
	_, value, _ := strings.Cut(authorization, " ")
	text, err := base64.StdEncoding.DecodeString(strings.TrimSpace(value))
	if err != nil {
		return ""
	}
	token, ok := strings.CutPrefix(string(text), identityUser+":")
	if !ok {
		return ""
	}
	return token
}

// postIdentity exchanges a refresh token for an access token at the token server that
// u, made by realmOf, is of. A redirect is not followed: the token stays with the server
// that the registry named.
func (s *Source) postIdentity(ctx context.Context, ep *Endpoint, u *url.URL, header http.Header, identity string) (*http.Response, error) {
	to := *u
	q := to.Query()
	form := url.Values{
		"grant_type": {"refresh_token"}, "client_id": {"darter"}, "refresh_token": {identity},
		"service": {q.Get("service")}, "scope": {strings.Join(q["scope"], " ")},
	}
	q.Del("service")
	q.Del("scope")
	to.RawQuery = q.Encode()
	if httpread.SameOrigin(&to, ep.URL) {
		for k, v := range ep.Header {
			header[http.CanonicalHeaderKey(k)] = v
		}
	}
	header.Set("Content-Type", "application/x-www-form-urlencoded")
	header.Set("Accept-Encoding", "identity")
	resp, err := s.roundTrip(ctx, ep, reachOf(ep), http.MethodPost, &to, header, []byte(form.Encode()))
	if err != nil {
		return nil, httpread.AnswerError(ctx, to.Host, err)
	}
	return resp, nil
}
