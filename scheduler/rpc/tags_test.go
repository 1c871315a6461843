package rpc

import (
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"

	schedulerv1 "github.com/darter-p2p/darter/api/scheduler/v1"
)

// FuzzTagOf reads arbitrary tags: what is taken is within bounds.
func FuzzTagOf(f *testing.F) {
	good := &schedulerv1.Tag{Origin: "oci://r/a/manifests/1", Digest: digest.FromString("x").String(), Size: 7, MediaType: "a/b", AgeSeconds: 60}
	b, err := proto.Marshal(good)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	now := time.Now()
	if tag, err := tagOf(good, now); err != nil || now.Sub(tag.Seen) != time.Minute {
		f.Fatalf("%+v, %v", tag, err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m schedulerv1.Tag
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		tag, err := tagOf(&m, now)
		if err == nil && (tag.Seen.After(now) || tag.Size < 0 || tag.Digest.Validate() != nil || checkText(string(tag.Origin), maxOriginBytes) != nil) {
			t.Fatalf("%+v", tag)
		}
	})
}
