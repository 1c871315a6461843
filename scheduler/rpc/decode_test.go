package rpc

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"

	schedulerv1 "github.com/darter-p2p/darter/api/scheduler/v1"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/scheduler/swarm"
)

var task1 = digest.FromString("task").String()

func join(task, origin string, size int64) *schedulerv1.ConnectRequest {
	return &schedulerv1.ConnectRequest{Message: &schedulerv1.ConnectRequest_Join{
		Join: &schedulerv1.Join{Task: task, Origin: origin, Size: size},
	}}
}

func announce(n int) *schedulerv1.ConnectRequest {
	a := &schedulerv1.Announce{Last: true}
	for range n {
		a.Holdings = append(a.Holdings, &schedulerv1.Holding{Task: task1, Size: 5, Complete: true, Origin: "https://o/x"})
	}
	return &schedulerv1.ConnectRequest{Message: &schedulerv1.ConnectRequest_Announce{Announce: a}}
}

func lost(hosts ...string) *schedulerv1.ConnectRequest {
	return &schedulerv1.ConnectRequest{Message: &schedulerv1.ConnectRequest_NeighbourLost{
		NeighbourLost: &schedulerv1.NeighbourLost{Task: task1, Hosts: hosts},
	}}
}

func failed(e *schedulerv1.OriginError) *schedulerv1.ConnectRequest {
	return &schedulerv1.ConnectRequest{Message: &schedulerv1.ConnectRequest_PullFailed{
		PullFailed: &schedulerv1.PullFailed{Task: task1, Error: e},
	}}
}

func TestEventOf(t *testing.T) {
	for _, tt := range []struct {
		name string
		r    *schedulerv1.ConnectRequest
		err  string // "" = it is taken
	}{
		{"join", join(task1, "https://o/x", -1), ""},
		{"join without a task", join("", "", -1), "join: bad task id"},
		{"join with another digest", join("sha512:00", "", -1), "unknown kind"},
		{"join with a negative size", join(task1, "", -2), "size -2"},
		{"join with a huge size", join(task1, "", p2p.MaxSize+1), "size"},
		{"join with a long origin", join(task1, strings.Repeat("x", maxOriginBytes+1), 1), "origin: 4097 bytes"},
		{"join with a line break", join(task1, "a\nb", 1), "U+000A"},
		{"announce", announce(maxHoldings), ""},
		{"announce nothing", announce(0), ""},
		{"announce too much", announce(maxHoldings + 1), "1001 holdings"},
		{"lost", lost("a", "b"), ""},
		{"lost without a name", lost("a", ""), "bad host id"},
		{"lost too many", lost(make([]string, maxLost+1)...), "257 hosts"},
		{"failed", failed(&schedulerv1.OriginError{Status: 404, Message: "no"}), ""},
		{"failed without a word", failed(nil), ""},
		{"failed with an odd status", failed(&schedulerv1.OriginError{Status: -1}), "status -1"},
		{"failed for ever", failed(&schedulerv1.OriginError{RetryAfterSeconds: 1 << 40}), "retry after"},
		{"nothing", &schedulerv1.ConnectRequest{}, "not expected"},
		{"hello again", &schedulerv1.ConnectRequest{Message: &schedulerv1.ConnectRequest_Hello{}}, "not expected"},
		{"empty messages", &schedulerv1.ConnectRequest{Message: &schedulerv1.ConnectRequest_BadPeer{}}, "bad task id"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ev, err := eventOf("h", tt.r)
			switch {
			case tt.err == "" && (err != nil || ev == nil):
				t.Errorf("event %v, error %v", ev, err)
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("error %v, want one with %q", err, tt.err)
			}
		})
	}
}

func TestHostOf(t *testing.T) {
	for _, tt := range []struct {
		addr, from, want string // want "" = refused
	}{
		{":65002", "10.0.0.1:4000", "10.0.0.1:65002"},
		{"0.0.0.0:65002", "10.0.0.1:4000", "10.0.0.1:65002"},
		{"[::]:65002", "[fd00::1]:4000", "[fd00::1]:65002"},
		{"10.0.0.2:1", "10.0.0.1:4000", "10.0.0.2:1"},
		{"node-2.example:65002", "10.0.0.1:4000", "node-2.example:65002"},
		{":65002", "bufconn", ""},
		{"10.0.0.2", "10.0.0.1:4000", ""},
		{":0", "10.0.0.1:4000", ""},
		{":http", "10.0.0.1:4000", ""},
		{":65536", "10.0.0.1:4000", ""},
		{"", "10.0.0.1:4000", ""},
		{strings.Repeat("x", 300) + ":1", "10.0.0.1:4000", ""},
	} {
		h, err := hostOf(&schedulerv1.Hello{HostId: "h", Address: tt.addr}, tt.from)
		if h.Addr != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("address %q from %q: %q, %v; want %q", tt.addr, tt.from, h.Addr, err, tt.want)
		}
	}
	if _, err := hostOf(&schedulerv1.Hello{HostId: "a b", Address: ":1"}, "[::1]:2"); err == nil {
		t.Error("a host id with a blank is taken")
	}
	if _, err := hostOf(&schedulerv1.Hello{HostId: "a", Address: ":1", Zone: "\x00"}, "[::1]:2"); err == nil {
		t.Error("a zone with a NUL is taken")
	}
}

// FuzzMessages passes arbitrary messages to a core: what is taken breaks no rule of it.
func FuzzMessages(f *testing.F) {
	for _, r := range []*schedulerv1.ConnectRequest{
		join(task1, "https://o/x", -1), announce(3), lost("h2"), failed(&schedulerv1.OriginError{Status: 503, Message: "\x01"}),
		{Message: &schedulerv1.ConnectRequest_Hello{Hello: &schedulerv1.Hello{HostId: "h1", Address: ":65002", Seed: true}}},
		{Message: &schedulerv1.ConnectRequest_BadPeer{BadPeer: &schedulerv1.BadPeer{Task: task1, Host: "h2"}}},
		{Message: &schedulerv1.ConnectRequest_PullStarted{PullStarted: &schedulerv1.PullStarted{Task: task1, Size: 9}}},
		{Message: &schedulerv1.ConnectRequest_PullDone{PullDone: &schedulerv1.PullDone{Task: task1}}},
	} {
		b, err := proto.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, b)
	}
	now := time.Unix(1e9, 0)
	f.Fuzz(func(t *testing.T, first, second []byte) {
		core := swarm.New(swarm.Default(), rand.New(rand.NewPCG(1, 1)))
		for _, id := range []p2p.HostID{"h1", "h2"} {
			core.Apply(now, swarm.HostUp{Host: p2p.Host{ID: id, Addr: "a:1"}})
		}
		for i, b := range [][]byte{first, second} {
			var r schedulerv1.ConnectRequest
			if proto.Unmarshal(b, &r) != nil {
				return
			}
			if hello := r.GetHello(); hello != nil {
				if h, err := hostOf(hello, "10.0.0.1:1"); err == nil {
					core.Apply(now, swarm.HostUp{Host: h})
				}
			}
			ev, err := eventOf([]p2p.HostID{"h1", "h2"}[i], &r)
			if err != nil {
				continue
			}
			now = now.Add(time.Second)
			core.Apply(now, ev)
			if err := core.Check(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
