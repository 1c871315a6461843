package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	darterdv1 "github.com/darter-p2p/darter/api/darterd/v1"
	"github.com/darter-p2p/darter/plugin/rafs/device"
)

// darterd asks darterd for parts of blobs.
type darterd struct{ http *http.Client }

func newDarterd(socket string) *darterd {
	var dialer net.Dialer
	return &darterd{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		},
		MaxIdleConnsPerHost: 64,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true,
	}}}
}

func (d *darterd) close() { d.http.CloseIdleConnections() }

// place is where a blob can be read.
type place struct {
	registry, repository string
	manifest             digest.Digest // that names the blob; "" = not known
}

// blob is a device.Source: one blob, and the places where images that are mounted have it.
type blob struct {
	from   *darterd
	digest digest.Digest

	mu     sync.Mutex
	places []place // the one that answered last is first
}

// addPlace makes a place known; the newest is asked first, for its image was pulled last.
func (b *blob) addPlace(p place) {
	b.mu.Lock()
	defer b.mu.Unlock()
	kept := []place{p}
	for _, old := range b.places {
		if old != p && len(kept) < 16 {
			kept = append(kept, old)
		}
	}
	b.places = kept
}

// Open implements device.Source. A place that refuses is passed over the next time.
func (b *blob) Open(ctx context.Context, a device.Ask) (io.ReadCloser, error) {
	b.mu.Lock()
	p := b.places[0]
	b.mu.Unlock()
	body, err := b.from.open(ctx, p, b.digest, a)
	if err != nil && ctx.Err() == nil {
		b.mu.Lock()
		if b.places[0] == p {
			b.places = append(b.places[1:], p)
		}
		b.mu.Unlock()
	}
	return body, err
}

// open asks once.
func (d *darterd) open(ctx context.Context, p place, blob digest.Digest, a device.Ask) (io.ReadCloser, error) {
	q := url.Values{
		darterdv1.RegistryParam: {p.registry}, darterdv1.RepositoryParam: {p.repository},
		darterdv1.DigestParam: {blob.String()}, darterdv1.NeedParam: {a.Need.String()},
	}
	if p.manifest != "" {
		q.Set(darterdv1.ManifestParam, p.manifest.String())
	}
	if !a.Verified {
		q.Set(darterdv1.VerifiesParam, "1")
	}
	if a.Origin {
		q.Set(darterdv1.OriginParam, "1")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://darterd"+darterdv1.BlobPath+"?"+q.Encode(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", a.Offset, a.Offset+a.Length-1))
	resp, err := d.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("darterd: %w: %w", err, errdefs.ErrUnavailable)
		}
		return nil, fmt.Errorf("darterd: %w: %w: %w", device.ErrGone, err, errdefs.ErrUnavailable)
	}
	if resp.StatusCode == http.StatusPartialContent && resp.ContentLength == a.Length {
		if host := resp.Header.Get(darterdv1.UnverifiedHeader); host != "" {
			return unverified{resp.Body, d, blob, host}, nil
		}
		return resp.Body, nil
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // it is for people only
	var e darterdv1.Error
	if json.Unmarshal(said, &e) != nil || e.Message == "" {
		e.Message = resp.Status
	}
	return nil, fmt.Errorf("darterd: %s: %w", e.Message, classOf(resp.StatusCode))
}

// unverified is the body of a device.Unverified: bytes as a host of the cluster sent them.
type unverified struct {
	io.ReadCloser
	from *darterd
	blob digest.Digest
	host string
}

// Accuse implements device.Unverified. darterd that does not hear it will hear of the next one.
func (u unverified) Accuse(ctx context.Context) {
	q := url.Values{darterdv1.DigestParam: {u.blob.String()}, darterdv1.HostParam: {u.host}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://darterd"+darterdv1.WrongPath+"?"+q.Encode(), nil)
	if err != nil {
		return
	}
	if resp, err := u.from.http.Do(req); err == nil {
		resp.Body.Close()
	}
}

func classOf(status int) error {
	switch status {
	case http.StatusUnauthorized:
		return errdefs.ErrUnauthenticated
	case http.StatusForbidden:
		return errdefs.ErrPermissionDenied
	case http.StatusNotFound:
		return errdefs.ErrNotFound
	case http.StatusRequestedRangeNotSatisfiable:
		return errdefs.ErrOutOfRange
	}
	return errdefs.ErrUnavailable
}
