package door

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	darterdv1 "github.com/darter-p2p/darter/api/darterd/v1"
)

// Bytes that nobody has verified are for an asker who says that he verifies them, and he is told whose they are.
func TestUnverified(t *testing.T) {
	l := &library{unverified: "node7"}
	h := New(l, nil)
	for value, verifies := range map[string]bool{"": false, "0": false, "1": true} {
		resp := get(h, ask(func(q url.Values) { q.Set(darterdv1.VerifiesParam, value) }), "bytes=0-9")
		if resp.StatusCode != http.StatusPartialContent {
			t.Fatal(resp.Status)
		}
		if asked := l.asked[len(l.asked)-1]; asked.Verifies != verifies {
			t.Errorf("%s=%s: %+v", darterdv1.VerifiesParam, value, asked)
		}
		want := ""
		if verifies {
			want = "node7"
		}
		if got := resp.Header.Get(darterdv1.UnverifiedHeader); got != want {
			t.Errorf("%s=%s: bytes of %q", darterdv1.VerifiesParam, value, got)
		}
	}
}

func TestWrong(t *testing.T) {
	l := &library{}
	h := New(l, nil)
	post := func(q url.Values) int {
		w := httptest.NewRecorder()
		h.Wrong(w, httptest.NewRequest(http.MethodPost, darterdv1.WrongPath+"?"+q.Encode(), nil))
		return w.Code
	}
	blob := digest.FromBytes(content).String()
	if code := post(url.Values{darterdv1.DigestParam: {blob}, darterdv1.HostParam: {"node7"}}); code != http.StatusNoContent {
		t.Error(code)
	}
	if !slices.Equal(l.accused, []string{blob + " node7"}) {
		t.Errorf("accused %q", l.accused)
	}
	l.err = errdefs.ErrInvalidArgument
	if code := post(url.Values{darterdv1.DigestParam: {"x"}}); code != http.StatusBadRequest {
		t.Error(code)
	}
}
