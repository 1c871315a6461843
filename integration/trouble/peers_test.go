package trouble

import (
	"context"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/darter-p2p/darter/integration/lab"
)

// peerPort is where darterd sends pieces from.
const peerPort = "65002"

// during has the clients of nodes get a content while something happens: it begins when
// the origin has sent a share of it.
func (s *stage) during(t *testing.T, name string, size int64, share float64, happens func(), nodes ...*lab.Darterd) []outcome {
	t.Helper()
	digest := s.push(size, nil)
	var event sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	event.Go(func() {
		for ctx.Err() == nil {
			if _, sent := s.relay.count(digest); float64(sent) >= share*float64(size) {
				happens()
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	got := s.crowd(digest, 0, nodes...)
	cancel()
	event.Wait()
	gets, sent := s.relay.count(digest)
	copies := float64(sent) / float64(size)
	t.Log(line(name, outcome{}, got, gets, copies))
	for i, o := range got {
		if !o.right {
			t.Errorf("%s did not get the right bytes: %d, %v", nodes[i].Host.Name, o.status, o.err)
		}
		if o.first > unbearable || o.idle > unbearable {
			t.Errorf("%s waited for %v, and then for %v", nodes[i].Host.Name, o.first, o.idle)
		}
	}
	if copies > 1.2 && slowest(got).took < 10*time.Second {
		t.Errorf("the origin sent %.2f copies in %d answers", copies, gets)
	}
	return got
}

// Everything that happens to peers, with eight nodes.
func TestStressPeers(t *testing.T) {
	if os.Getenv("DARTER_STRESS") == "" {
		t.Skip("minutes: DARTER_STRESS=1")
	}
	if reason := lab.Unmet("iptables"); reason != "" {
		t.Skip(reason)
	}
	s := newStage(t)
	s.addAhead()
	s.addNodes(6)
	s.addCramped(8 * mib)
	s.warm()
	t.Log(heading)
	const size = 48 * mib
	s.during(t, "undisturbed, but for one clock", size, 0, func() {}, s.nodes[:7]...)
	full := s.nodes[7]
	s.during(t, "disk full on one", size, 0, func() {}, s.nodes...)
	s.nodes = s.nodes[:7]
	full.Kill()

	half := s.nodes[:4]
	s.unreachable(half...)
	s.during(t, "half of the peers unreachable one way", size, 0, func() {}, s.nodes...)
	s.reachable(half...)

	mute := s.nodes[6]
	s.during(t, "a peer accepts and never sends", size, 0.3, func() { s.signal(mute, syscall.SIGSTOP) }, s.nodes[:6]...)
	s.during(t, "a peer that never sent", size, 0, func() {}, s.nodes[:6]...)
	s.signal(mute, syscall.SIGCONT)

	s.during(t, "scheduler killed and restarted", size, 0.3, func() {
		if err := s.scheduler.Restart(t.Context()); err != nil {
			t.Error(err)
		}
	}, s.nodes...)
	s.during(t, "scheduler killed", size, 0.3, s.scheduler.Kill, s.nodes...)
	if err := s.scheduler.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.warm()
	s.during(t, "3 nodes killed", size, 0.3, func() {
		for _, n := range s.nodes[4:] {
			n.Kill()
		}
	}, s.nodes[:4]...)
	s.during(t, "seed killed", size, 0.3, s.seed.Kill, s.nodes[:4]...)
}

// unreachable has hosts accept no connection of peers, while they make some.
func (s *stage) unreachable(nodes ...*lab.Darterd) {
	s.t.Helper()
	s.rule(nodes, "-A", "INPUT", "-p", "tcp", "--dport", peerPort, "--syn", "-j", "DROP")
}

func (s *stage) reachable(nodes ...*lab.Darterd) {
	s.t.Helper()
	s.rule(nodes, "-F", "INPUT")
}

func (s *stage) rule(nodes []*lab.Darterd, rule ...string) {
	s.t.Helper()
	for _, n := range nodes {
		if _, err := n.Host.Output(s.t.Context(), append([]string{"iptables"}, rule...)...); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *stage) signal(n *lab.Darterd, what syscall.Signal) {
	if err := syscall.Kill(n.Pid(), what); err != nil {
		s.t.Error(err)
	}
}
