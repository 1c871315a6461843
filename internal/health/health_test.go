package health

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestHealth(t *testing.T) {
	var h Health
	for _, step := range []struct {
		name string
		do   func()
		code int
		body string
	}{
		{"zero", func() {}, 503, "starting\n"},
		{"reason", func() { h.NotReady("no scheduler") }, 503, "no scheduler\n"},
		{"ready", h.Ready, 200, "ok\n"},
		{"no longer", func() { h.NotReady("disk full") }, 503, "disk full\n"},
		{"ready again", h.Ready, 200, "ok\n"},
		{"stopping", h.Stopping, 503, "stopping\n"},
		{"stays stopping", h.Ready, 503, "stopping\n"},
		{"still", func() { h.NotReady("x") }, 503, "stopping\n"},
	} {
		step.do()
		for _, path := range []string{"/healthz", "/healthy", "/server/ping"} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
			if w.Code != step.code || w.Body.String() != step.body {
				t.Errorf("%s: %s answers %d %q, want %d %q", step.name, path, w.Code, w.Body, step.code, step.body)
			}
		}
	}
	for request, code := range map[*http.Request]int{
		httptest.NewRequest(http.MethodGet, "/", nil):          404,
		httptest.NewRequest(http.MethodGet, "/healthz/x", nil): 404,
		httptest.NewRequest(http.MethodPost, "/healthz", nil):  405,
		httptest.NewRequest(http.MethodHead, "/healthz", nil):  503,
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, request)
		if w.Code != code {
			t.Errorf("%s %s: %d, want %d", request.Method, request.URL, w.Code, code)
		}
	}
}
