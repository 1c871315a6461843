package lab

import (
	"net/netip"
	"testing"
	"time"
)

func TestParseAccessLog(t *testing.T) {
	const text = `time="2026-11-21T01:00:00Z" level=warning msg="No HTTP secret provided"
10.77.0.3 - - [21/Nov/2026:01:49:07 +0000] "GET /v2/lab/app/blobs/sha256:aa?ns=10.77.0.1%3A5000 HTTP/1.1" 206 1048576 "" "containerd/2.4.2"
10.77.0.4 - - [21/Nov/2026:01:49:08 +0000] "HEAD /v2/lab/app/manifests/1 HTTP/1.1" 200 0 "" ""
10.77.0.4 - - [21/Nov/2026:01:49:08 +0000] "PUT /v2/lab/app/blobs/uploads/x?digest=sha256%3Aaa HTTP/1.1" 201 0 "" "go-containerregistry"
half a li`
	got := parseAccessLog([]byte(text))
	if len(got) != 3 {
		t.Fatalf("%d requests: %v", len(got), got)
	}
	want := Request{
		From: netip.MustParseAddr("10.77.0.3"), Time: time.Date(2026, 11, 21, 1, 49, 7, 0, time.UTC), Method: "GET",
		Path: "/v2/lab/app/blobs/sha256:aa?ns=10.77.0.1%3A5000", Status: 206, Bytes: 1048576, Agent: "containerd/2.4.2",
	}
	got[0].Time = got[0].Time.UTC()
	if got[0] != want {
		t.Errorf("got %+v, want %+v", got[0], want)
	}
	for i, read := range []bool{true, false, false} {
		if got[i].IsBlobRead() != read {
			t.Errorf("%v: blob read %v", got[i], !read)
		}
	}
}
