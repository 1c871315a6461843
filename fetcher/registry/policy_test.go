package registry

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/fetcher/upstream"
)

// What a seed reads for others passes the lists, unless its operator wrote it down.
func TestPolicy(t *testing.T) {
	asked := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		_, _ = w.Write([]byte("x"))
	}))
	defer srv.Close()
	u, _ := url.Parse(srv.URL)
	const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for name, tt := range map[string]struct {
		host   string
		lists  upstream.Config
		table  bool
		denied bool
	}{
		"loopback":           {host: u.Host, denied: true},
		"a name of loopback": {host: "localhost:" + u.Port(), denied: true},
		"allowed":            {host: u.Host, lists: upstream.Config{Allow: []string{"127.0.0.1"}}},
		"allowed by network": {host: "localhost:" + u.Port(), lists: upstream.Config{Allow: []string{"127.0.0.0/8"}}},
		"denied":             {host: u.Host, lists: upstream.Config{Allow: []string{"127.0.0.1"}, Deny: []string{u.Host}}, denied: true},
		"metadata":           {host: "169.254.169.254", denied: true},
		"in a table":         {host: "registry.test", table: true},
	} {
		t.Run(name, func(t *testing.T) {
			policy, err := upstream.New(tt.lists)
			if err != nil {
				t.Fatal(err)
			}
			c := Default()
			if tt.table {
				c.Registries = []HostConfig{{Host: tt.host, URL: srv.URL}}
			}
			s, err := New(c, Options{Policy: policy})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			before := asked
			resp, err := s.Open(t.Context(), source.Request{Origin: Origin(tt.host, "app", Blobs, digest), Length: -1})
			if err == nil {
				_ = resp.Body.Close()
			}
			if denied := errdefs.IsPermissionDenied(err); denied != tt.denied || !denied && err != nil || denied && asked != before {
				t.Errorf("%v, asked %d times", err, asked-before)
			}
		})
	}
}
