package tags

import (
	"fmt"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/p2p"
)

var now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func tag(name, content string, age time.Duration) p2p.Tag {
	return p2p.Tag{Origin: p2p.Origin("oci://r/a/manifests/" + name), Digest: digest.FromString(content), Size: 7, Seen: now.Add(-age)}
}

func TestMostHostsFirst(t *testing.T) {
	m := New(Default())
	m.Tell("a", false, tag("1", "old", 2*time.Hour), now)
	m.Tell("b", true, tag("1", "old", time.Hour), now)
	m.Tell("liar", false, tag("1", "forged", -time.Hour), now) // of the future
	got := m.Find("oci://r/a/manifests/1", now)
	if len(got) != 2 {
		t.Fatalf("%+v", got)
	}
	if g := got[0]; g.Digest != digest.FromString("old") || g.Hosts != 2 || !g.Seed || g.Host != "b" || g.Seen != now.Add(-time.Hour) {
		t.Errorf("first: %+v", g)
	}
	if g := got[1]; g.Hosts != 1 || g.Seed || g.Seen != now {
		t.Errorf("second: %+v", g)
	}
	// Those who hear something new say something new.
	m.Tell("a", false, tag("1", "new", 0), now)
	m.Tell("b", true, tag("1", "new", 0), now)
	if got := m.Find("oci://r/a/manifests/1", now); got[0].Digest != digest.FromString("new") || len(got) != 2 {
		t.Errorf("after the change: %+v", got)
	}
}

func TestBounds(t *testing.T) {
	m := New(Config{Tags: 3, Hosts: 2, Life: time.Hour})
	for i := range 5 {
		m.Tell("a", false, tag(fmt.Sprint(i), "x", 0), now)
	}
	if m.Len() != 3 || m.Find("oci://r/a/manifests/1", now) != nil || m.Find("oci://r/a/manifests/4", now) == nil {
		t.Errorf("%d tags; the oldest must go first", m.Len())
	}
	for _, host := range []p2p.HostID{"a", "b", "c"} {
		m.Tell(host, false, tag("4", "x", 0), now)
	}
	if got := m.Find("oci://r/a/manifests/4", now); got[0].Hosts != 2 {
		t.Errorf("%+v", got)
	}
	if got := m.Find("oci://r/a/manifests/4", now.Add(2*time.Hour)); len(got) != 0 {
		t.Errorf("after its life: %+v", got)
	}
	if m.Tell("a", false, tag("9", "x", 2*time.Hour), now); m.Find("oci://r/a/manifests/9", now) != nil {
		t.Error("a word past its life is taken")
	}
}
