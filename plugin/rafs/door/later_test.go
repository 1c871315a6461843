package door

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"

	darterdv1 "github.com/darter-p2p/darter/api/darterd/v1"
	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/credential"
	"github.com/darter-p2p/darter/plugin/rafs/device"
)

// tokens is a registry that wants bearer tokens, which end, or the password that it gives
// them for.
type tokens struct {
	library

	until map[string]time.Time // by the value of the header
}

func (k *tokens) Open(ctx context.Context, c fetcher.Content, r fetcher.Range) (*fetcher.Body, error) {
	shown := c.Header.Get("Authorization")
	if !time.Now().Before(k.until[shown]) {
		return nil, fmt.Errorf("%q is no token, or not any more: %w", shown, errdefs.ErrUnauthenticated)
	}
	return k.library.Open(ctx, c, r)
}

// issue gives a JSON web token.
func (k *tokens) issue(life time.Duration) string {
	enc := base64.RawURLEncoding.EncodeToString
	end := time.Now().Add(life)
	token := "Bearer " + enc([]byte(`{"alg":"none"}`)) + "." + enc(fmt.Appendf(nil, `{"exp":%d}`, end.Unix())) + ".c2ln"
	k.until[token] = end
	return token
}

// stored is a blob of chunks as they are.
type stored struct{}

const chunk = 1000

func (stored) Size() int64 { return int64(len(content)) }
func (stored) Chunks() int { return len(content) / chunk }

func (stored) Chunk(i int) device.Chunk {
	return device.Chunk{Offset: int64(i) * chunk, Size: chunk, BlobOffset: int64(i) * chunk, BlobSize: chunk}
}

func (stored) Decode(i int, dst, compressed []byte) error {
	if copy(dst, compressed) != chunk || !bytes.Equal(dst, content[i*chunk:][:chunk]) {
		return errdefs.ErrDataLoss
	}
	return nil
}

// through asks a door as the mount server does.
type through struct{ door http.Handler }

func (s through) Open(ctx context.Context, a device.Ask) (io.ReadCloser, error) {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, ask(func(q url.Values) { q.Set(darterdv1.NeedParam, a.Need.String()) }), nil)
	r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", a.Offset, a.Offset+a.Length-1))
	w := httptest.NewRecorder()
	s.door.ServeHTTP(w, r)
	if w.Code != http.StatusPartialContent {
		return nil, fmt.Errorf("%d: %s", w.Code, strings.TrimSpace(w.Body.String()))
	}
	return io.NopCloser(w.Body), nil
}

// An image that was pulled with a bearer token is read three days later, when the token
// has long ended. Who has all of it needs nobody; who does not reads on with what the node
// itself knows, and without that gets an error for what is absent, and for nothing else.
func TestTokenThreeDaysLater(t *testing.T) {
	const secret = "Basic bm9kZTpzZWNyZXQ="
	for name, tt := range map[string]struct {
		complete, own bool
		absent        bool // what is not there can be had
	}{
		"complete":                       {complete: true, absent: true},
		"incomplete, the node may read":  {own: true, absent: true},
		"incomplete, the node knows not": {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				registry := &tokens{until: map[string]time.Time{}}
				seen, own := new(credential.Seen), password("")
				if tt.own {
					own = secret
					registry.until[secret] = time.Now().Add(1000 * time.Hour)
				}
				seen.Accepted("docker.io", "library/x", registry.issue(5*time.Minute)) // the pull
				cfg := device.Default()
				cfg.ReadAhead = 0
				d, err := device.Open(t.TempDir(), stored{}, through{New(registry, credential.First(nil, seen, own))}, cfg, device.Options{})
				if err != nil {
					t.Fatal(err)
				}
				defer func() {
					if err := d.Close(); err != nil {
						t.Error(err)
					}
				}()
				read := func(off, n int64) error {
					if err := d.Ensure(t.Context(), off, n); err != nil {
						return err
					}
					b := make([]byte, n)
					if _, err := d.File().ReadAt(b, off); err != nil || !bytes.Equal(b, content[off:][:n]) {
						t.Errorf("%d bytes at %d are wrong; %v", n, off, err)
					}
					return nil
				}
				there := int64(2 * chunk)
				if tt.complete {
					there = d.Size()
				}
				if err := read(0, there); err != nil {
					t.Fatal(err)
				}
				asked := len(registry.asked)

				time.Sleep(72 * time.Hour)
				if err := read(0, there); err != nil {
					t.Errorf("what is there: %v", err)
				}
				if len(registry.asked) != asked {
					t.Error("the registry was asked for what is there")
				}
				began := time.Now()
				err = read(5*chunk, 3*chunk)
				if (err == nil) != tt.absent {
					t.Errorf("the rest: %v", err)
				}
				if took := time.Since(began); took > time.Minute {
					t.Errorf("it took %v", took)
				}
				if err := read(0, there); err != nil {
					t.Errorf("what is there, at last: %v", err)
				}
			})
		})
	}
}
