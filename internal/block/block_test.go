package block

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func TestCheck(t *testing.T) {
	r, err := New([]string{"crawler"}, []string{`^https://bad\.example/`, `/v2/library/nginx/.*/1\.27$`}, []string{"nightly"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		ask  Request
		rule string // "" = not blocked
	}{
		{Request{}, ""},
		{Request{URL: "https://good.example/bad.example/x", Application: "app", Tag: "daily"}, ""},
		{Request{URL: "https://good.example/x", Application: "crawler"}, `application "crawler"`},
		{Request{Application: "crawler2"}, ""},
		{Request{Tag: "nightly", Application: "app"}, `tag "nightly"`},
		{Request{URL: "https://bad.example/x?y=1"}, `url "^https://bad\\.example/"`},
		{Request{URL: URL("https://bad.example/x#darter-generation=%22a%22")}, `url "^https://bad\\.example/"`},
		{Request{URL: URL("oci://docker.io/library/nginx/manifests/1.27")}, "url"},
		{Request{URL: URL("oci://docker.io/library/nginx/manifests/1.28")}, ""},
	} {
		err := r.Check(tt.ask)
		if (err != nil) != (tt.rule != "") || err != nil && (!errdefs.IsPermissionDenied(err) || !strings.Contains(err.Error(), tt.rule)) {
			t.Errorf("%+v: %v, want the rule %s", tt.ask, err, tt.rule)
		}
	}
	if _, err := New(nil, []string{"("}, nil); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a bad pattern: %v", err)
	}
	var l List
	if err := l.Rules().Check(Request{Application: "crawler"}); err != nil {
		t.Error(err)
	}
	l.Set(r)
	if err := l.Rules().Check(Request{Application: "crawler"}); err == nil {
		t.Error("what was set does not count")
	}
	if none, err := New(nil, nil, nil); none != nil || err != nil || (*List)(nil).Rules() != nil {
		t.Errorf("empty lists: %v, %v", none, err)
	}
}
