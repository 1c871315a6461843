package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	darterdv1 "github.com/darter-p2p/darter/api/darterd/v1"
)

// errBroken says that the content ended early; the rest may be had by asking again.
var errBroken = errors.New("the content broke off")

// fetch asks darterd for what the part lacks, and writes it there.
func (g *getter) fetch(ctx context.Context, p *part) error {
	transport := &http.Transport{DisableCompression: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", g.socket)
	}}
	defer transport.CloseIdleConnections()
	request, err := g.request(ctx, p)
	if err != nil {
		return err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return unreachable(g.socket, err)
	}
	defer response.Body.Close()
	done, err := begin(response, p)
	if done || err != nil {
		return err
	}
	if said := response.Header.Get(darterdv1.DigestHeader); g.digest != "" && said != "" && said != g.digest {
		p.discard()
		return &failure{exitDigest, fmt.Errorf("the content is %s, as the seed computed it, not %s", printable(said), g.digest)}
	}
	if g.progress != nil {
		g.progress.begin(p.size, p.whole, response.Header.Get(darterdv1.FromHeader))
	}
	if err := g.copy(p, response.Body); err != nil {
		return err
	}
	g.said = or(response.Header.Get(darterdv1.DigestHeader), response.Trailer.Get(darterdv1.DigestHeader))
	return nil
}

func (g *getter) request(ctx context.Context, p *part) (*http.Request, error) {
	params := url.Values{darterdv1.URLParam: {g.url}, darterdv1.HeaderParam: g.headers}
	for name, value := range map[string]string{
		darterdv1.TagParam: g.tag, darterdv1.ApplicationParam: g.application,
		darterdv1.DigestParam: g.digest, darterdv1.ValidatorParam: p.validator,
	} {
		if value != "" {
			params.Set(name, value)
		}
	}
	u := url.URL{Scheme: "http", Host: "darterd", Path: darterdv1.ContentPath, RawQuery: params.Encode()}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask darterd: %w", err)
	}
	if p.size > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", p.size))
	}
	return request, nil
}

// begin checks an answer's headers against the part. done says that nothing is missing.
func begin(r *http.Response, p *part) (done bool, err error) {
	validator := r.Header.Get(darterdv1.ValidatorHeader)
	switch {
	case r.StatusCode == http.StatusOK && p.size == 0:
		p.whole = r.ContentLength
		return false, p.note(validator)
	case r.StatusCode == http.StatusPartialContent && p.size > 0:
		first, whole, err := parseContentRange(r.Header.Get("Content-Range"))
		if err != nil || first != p.size {
			return false, errors.New("darterd answers with another range than it was asked for")
		}
		if p.validator != "" && validator != p.validator {
			return false, fmt.Errorf("%w while it was read", errChanged)
		}
		p.whole = whole
		return false, nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return false, fmt.Errorf("%w: %w", errBroken, err)
	}
	var said darterdv1.Error
	if json.Unmarshal(body, &said) != nil || said.Message == "" {
		return false, fmt.Errorf("darterd answers %d %s; is it too old for get?", r.StatusCode, http.StatusText(r.StatusCode))
	}
	if said.Code == darterdv1.CodeOutOfRange && p.size > 0 {
		if p.whole == p.size {
			return true, nil // all of it was there
		}
		return false, fmt.Errorf("%w: it is shorter now", errChanged)
	}
	return false, contentRefusal(said)
}

// parseContentRange reads "bytes <first>-<last>/<size>"; a size of "*" is -1.
func parseContentRange(s string) (first, whole int64, err error) {
	bad := errors.New("bad Content-Range")
	span, size, ok := strings.Cut(strings.TrimPrefix(s, "bytes "), "/")
	a, b, ok2 := strings.Cut(span, "-")
	first, err1 := strconv.ParseInt(a, 10, 64)
	last, err2 := strconv.ParseInt(b, 10, 64)
	if !ok || !ok2 || !strings.HasPrefix(s, "bytes ") || err1 != nil || err2 != nil || first < 0 || last < first {
		return 0, 0, bad
	}
	if size == "*" {
		return first, -1, nil
	}
	if whole, err = strconv.ParseInt(size, 10, 64); err != nil || whole <= last {
		return 0, 0, bad
	}
	return first, whole, nil
}

// copy writes a body to the part.
func (g *getter) copy(p *part, body io.Reader) error {
	buf := make([]byte, 256<<10)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			if werr := p.write(buf[:n]); werr != nil {
				return werr
			}
			if g.progress != nil {
				g.progress.at(p.size)
			}
		}
		switch {
		case errors.Is(err, io.EOF) && p.whole >= 0 && p.size != p.whole:
			return fmt.Errorf("%w: %d of %d bytes came", errBroken, p.size, p.whole)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("%w: %w", errBroken, err)
		}
	}
}

// withoutQuery is a URL without its query, which may hold a signature of the hour.
func withoutQuery(s string) string {
	s, _, _ = strings.Cut(s, "?")
	s, _, _ = strings.Cut(s, "#")
	return s
}
