package fetcher

import (
	"testing"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/internal/block"
	"github.com/darter-p2p/darter/p2p"
)

// The priority of an application decides the class of its reads; a URL's goes first, and
// what is read ahead of its need stays in the background.
func TestPriorities(t *testing.T) {
	r := &Rules{}
	if err := r.Prioritise([]Application{
		{Name: "live", Priority: 1},
		{Name: "batch", Priority: 5, URLs: []URLPriority{{Pattern: "/hot/", Priority: 0}, {Pattern: "hot", Priority: 6}}},
		{Name: "plain", Priority: 3},
	}); err != nil {
		t.Fatal(err)
	}
	l := &Local{cfg: Default(), rules: r}
	for _, tt := range []struct {
		application, url string
		wish             wish
		want             p2p.Class
	}{
		{"", "", wish{}, p2p.Window},
		{"unknown", "", wish{}, p2p.Window},
		{"plain", "", wish{}, p2p.Window},
		{"plain", "", wish{urgent: true}, p2p.Urgent},
		{"live", "", wish{}, p2p.Urgent},
		{"live", "", wish{background: true}, p2p.Background},
		{"batch", "https://h/cold", wish{}, p2p.Background},
		{"batch", "https://h/hot/x", wish{}, p2p.Urgent},
		{"batch", "https://h/hot", wish{}, p2p.Background},
		{"live", "", wish{kept: true}, p2p.Background},
	} {
		w := tt.wish
		if err := l.admit(&w, block.Request{Application: tt.application, URL: tt.url}); err != nil {
			t.Fatal(err)
		}
		if got, _ := l.urgency(w); got != tt.want {
			t.Errorf("%q, %q, %+v: class %v, want %v", tt.application, tt.url, tt.wish, got, tt.want)
		}
	}
	if err := r.Prioritise([]Application{{Name: "x", URLs: []URLPriority{{Pattern: "("}}}}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a bad pattern: %v", err)
	}
}
