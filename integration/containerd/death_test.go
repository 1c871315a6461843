package containerd

import (
	"context"
	"testing"
	"time"

	darterdv1 "github.com/darter-p2p/darter/api/darterd/v1"
	"github.com/darter-p2p/darter/integration/lab"
	"github.com/darter-p2p/darter/integration/lab/image"
	"github.com/darter-p2p/darter/integration/lab/labtest"
)

// TestDeath kills a part of the system with -9 in the middle of a pull by all
// nodes. Every pull must succeed with the right content.
func TestDeath(t *testing.T) {
	for _, test := range []struct {
		name   string
		victim func(*lab.System) *lab.Process
	}{
		{"darterd", func(s *lab.System) *lab.Process { return s.Nodes[0].Darterd.Process }},
		{"scheduler", func(s *lab.System) *lab.Process { return s.Scheduler.Process }},
		{"seed", func(s *lab.System) *lab.Process { return s.Seed.Process }},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := labtest.New(t, lab.Options{}, lab.SystemTools...)
			// Slow links give the time to hit the middle.
			s, pushed := newSystem(t, l, lab.SystemOptions{Nodes: 3, Link: lab.Both(80 * lab.Mbit)},
				image.Recipe{Layers: 7, Bytes: 48 << 20, Compression: image.Gzip})
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			pulls := make(chan []lab.Pulled, 1)
			go func() { pulls <- s.PullAll(ctx, lab.Ctr, pushed.Ref, nil) }()
			waitUntilReceived(t, s.Nodes[0], pushed.Bytes/4)
			before := status(t, s.Nodes[1])
			test.victim(s).Kill()
			for _, pulled := range <-pulls {
				if pulled.Err != nil {
					t.Errorf("%s: %v", pulled.Node.Host.Name, pulled.Err)
					continue
				}
				if err := pulled.Node.Verify(t.Context(), lab.Ctr, pushed); err != nil {
					t.Error(err)
				}
				t.Logf("%s pulled in %.1f s", pulled.Node.Host.Name, pulled.Took.Seconds())
			}
			if test.name == "darterd" {
				wantBlobRequests(t, s.Registry, s.Nodes[0].Host, true) // its containerd falls back
			}
			// Layers that a node asks for when the scheduler is dead come from the
			// registry; those that it exchanges already go on.
			after := status(t, s.Nodes[1])
			t.Logf("node2: %+v at the death, %+v at the end", before.Bytes, after.Bytes)
			if after.Bytes.FromPeers <= before.Bytes.FromPeers {
				t.Error("node2 received nothing more from other nodes")
			}
		})
	}
}

func status(t *testing.T, node *lab.Node) darterdv1.Status {
	t.Helper()
	s, err := node.Darterd.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// waitUntilReceived returns when a node's darterd has received n bytes.
func waitUntilReceived(t *testing.T, node *lab.Node, n int64) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		received := status(t, node).Bytes.Total()
		if received >= n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s received only %d bytes", node.Host.Name, received)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
