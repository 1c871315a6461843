package tracker

import (
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"

	schedulerv1 "github.com/darter-p2p/darter/api/scheduler/v1"
)

const tagged = "oci://r/a/manifests/1"

func told() *schedulerv1.ToldTag {
	return &schedulerv1.ToldTag{
		Tag:   &schedulerv1.Tag{Origin: tagged, Digest: digest.FromString("x").String(), Size: 7, MediaType: "a/b", AgeSeconds: 60},
		Hosts: 2, Seed: true, Host: "a",
	}
}

func TestToldOf(t *testing.T) {
	now := time.Now()
	got, err := toldOf(tagged, &schedulerv1.FindTagResponse{Told: []*schedulerv1.ToldTag{told()}}, now)
	if err != nil || len(got) != 1 || got[0].Hosts != 2 || !got[0].Seed || got[0].Seen != now.Add(-time.Minute) || got[0].Size != 7 {
		t.Fatalf("%+v, %v", got, err)
	}
	for name, spoil := range map[string]func(*schedulerv1.ToldTag){
		"another tag": func(m *schedulerv1.ToldTag) { m.Tag.Origin = "oci://r/b/manifests/1" },
		"no digest":   func(m *schedulerv1.ToldTag) { m.Tag.Digest = "" },
		"sha512":      func(m *schedulerv1.ToldTag) { m.Tag.Digest = digest.SHA512.FromString("x").String() },
		"size":        func(m *schedulerv1.ToldTag) { m.Tag.Size = -1 },
		"age":         func(m *schedulerv1.ToldTag) { m.Tag.AgeSeconds = 1 << 62 },
		"type":        func(m *schedulerv1.ToldTag) { m.Tag.MediaType = "a\r\nb" },
		"host":        func(m *schedulerv1.ToldTag) { m.Host = "/" },
		"nothing":     func(m *schedulerv1.ToldTag) { m.Tag = nil },
	} {
		m := told()
		spoil(m)
		if got, err := toldOf(tagged, &schedulerv1.FindTagResponse{Told: []*schedulerv1.ToldTag{m}}, now); err == nil {
			t.Errorf("%s: taken as %+v", name, got)
		}
	}
}

func FuzzToldOf(f *testing.F) {
	b, err := proto.Marshal(&schedulerv1.FindTagResponse{Told: []*schedulerv1.ToldTag{told(), nil}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	now := time.Now()
	f.Fuzz(func(t *testing.T, b []byte) {
		var m schedulerv1.FindTagResponse
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		got, err := toldOf(tagged, &m, now)
		if len(got) > maxTold {
			t.Fatalf("%d answers", len(got))
		}
		for _, g := range got {
			if g.Digest.Validate() != nil || g.Seen.After(now) || err != nil {
				t.Fatalf("%+v, %v", g, err)
			}
		}
	})
}
