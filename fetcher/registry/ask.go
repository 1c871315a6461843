package registry

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/fetcher/source/httpread"
)

// acceptManifest asks for every kind of manifest, where the reader did not say.
var acceptManifest = strings.Join([]string{
	"application/vnd.oci.image.index.v1+json",
	"application/vnd.oci.image.manifest.v1+json",
	"application/vnd.docker.distribution.manifest.list.v2+json",
	"application/vnd.docker.distribution.manifest.v2+json",
	"*/*",
}, ", ")

// ask makes a request for ref at ep with what authorization it takes, and returns an
// answer of status 2xx. Any other is a *source.Error.
func (s *Source) ask(ctx context.Context, ep *Endpoint, ref Ref, method, byteRange string, reader http.Header) (*http.Response, error) {
	u := ep.URL.JoinPath(ref.path())
	if ep.Mirror {
		u.RawQuery = url.Values{"ns": {ref.Host}}.Encode()
	}
	header := s.header(ep, ref, reader)
	if byteRange != "" {
		header.Set("Range", byteRange)
	}
	auth := header.Get("Authorization")
	own := isScheme(auth, "Bearer") || auth != "" && !isScheme(auth, "Basic") // the reader knows what he wants
	if identityOf(auth) != "" {
		header.Del("Authorization") // it is for the token server only
	}
	key := keyOf(ep, ref.Repository, auth)
	sent := ""
	if !own {
		if sent = s.tokens.get(key); sent != "" {
			header.Set("Authorization", "Bearer "+sent)
		}
	}
	resp, err := s.follow(ctx, ep, method, u, header)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusUnauthorized && !own {
		if resp, err = s.prove(ctx, ep, ref, resp, key, auth, sent, method, u, header); err != nil {
			return nil, err
		}
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, s.refusal(ep, resp)
	}
	return resp, nil
}

// header makes the headers of a request from those of the reader that an origin may see.
func (s *Source) header(ep *Endpoint, ref Ref, reader http.Header) http.Header {
	h := http.Header{"User-Agent": {s.agent}}
	for _, name := range []string{"Accept", "User-Agent"} {
		if v := reader.Values(name); len(v) > 0 {
			h[name] = v
		}
	}
	if ref.Kind == Manifests && h.Get("Accept") == "" {
		h.Set("Accept", acceptManifest)
	}
	if !ep.Mirror {
		for _, name := range []string{"Authorization", "Cookie"} {
			if v := reader.Values(name); len(v) > 0 {
				h[name] = v
			}
		}
	}
	hops := append(append([]string(nil), reader.Values(source.HopHeader)...), s.instance)
	h.Set(source.HopHeader, strings.Join(hops, ", "))
	return h
}

// prove answers a 401: with a token of the token server that the challenge names, or
// with the reader's own password where the registry wants that. It returns the
// registry's second answer, or its first where there is nothing to prove with.
func (s *Source) prove(
	ctx context.Context, ep *Endpoint, ref Ref, first *http.Response,
	key tokenKey, auth, sent, method string, u *url.URL, header http.Header,
) (*http.Response, error) {
	if !httpread.SameOrigin(first.Request.URL, ep.URL) {
		return first, nil // said by another host, to which we were redirected
	}
	var proof string
	for _, c := range parseChallenges(first.Header) {
		switch {
		case c.scheme == "bearer" && c.params["realm"] != "":
			value, err := s.tokens.renew(ctx, key, sent, func(ctx context.Context) (token, error) {
				return s.fetchToken(ctx, ep, ref, c, auth)
			})
			var refused *source.Error
			if errors.As(err, &refused) && (refused.Status == http.StatusUnauthorized || refused.Status == http.StatusForbidden) {
				return first, nil // the reader is to see the registry's challenge
			}
			if err != nil {
				_ = first.Body.Close()
				return nil, httpread.AnswerError(ctx, ep.URL.Host, err)
			}
			proof = "Bearer " + value
		case c.scheme == "basic" && auth != "" && sent != "" && identityOf(auth) == "":
			proof = auth
		default:
			continue
		}
		break
	}
	if proof == "" {
		return first, nil
	}
	_ = first.Body.Close()
	header.Set("Authorization", proof)
	return s.follow(ctx, ep, method, u, header)
}

// refusal makes the error of an answer that is not 2xx. The challenge of a host to
// which the registry redirected is nothing that a reader should answer.
func (s *Source) refusal(ep *Endpoint, resp *http.Response) error {
	e := source.ErrorOf(resp, resp.Request.URL.Host, s.tokens.now())
	if !httpread.SameOrigin(resp.Request.URL, ep.URL) || ep.Mirror {
		e.Header.Del("WWW-Authenticate")
	}
	return e
}

func isScheme(authorization, scheme string) bool {
	got, _, _ := strings.Cut(authorization, " ")
	return strings.EqualFold(got, scheme)
}
