package cluster

import (
	"fmt"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/trust"
	"github.com/darter-p2p/darter/scheduler/rpc"
)

// What members sign is believed where their clocks have jumped by an hour since their
// certificates were made a moment ago: seeds, and nodes with a token of this life.
func TestClocksAnHourApart(t *testing.T) {
	now := time.Now()
	ca, err := pki.CreateCA("test", now, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	signer := func(role pki.Role, token []byte) *trust.Signer {
		t.Helper()
		pair, err := ca.Issue(pki.Request{Role: role, Name: "m-" + string(role)}, now)
		if err != nil {
			t.Fatal(err)
		}
		id, err := pki.NewIdentity(pair, ca.Roots())
		if err != nil {
			t.Fatal(err)
		}
		key, cert := id.Signer()
		s, err := trust.NewSigner(key, cert, token)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	task, err := p2p.TaskOfDigest(digest.FromString("a"))
	if err != nil {
		t.Fatal(err)
	}
	hours := []time.Duration{-time.Hour, 0, time.Hour}
	for _, schedulers := range hours {
		token, err := signer(pki.Scheduler, nil).Token(task, "m-node", now.Add(schedulers).Add(rpc.Default().TokenLife))
		if err != nil {
			t.Fatal(err)
		}
		for _, members := range hours {
			for _, s := range []*trust.Signer{signer(pki.Seed, nil), signer(pki.Node, token.Encode())} {
				t.Run(fmt.Sprint(s.Host(), members, " scheduler", schedulers), func(t *testing.T) {
					b, err := s.Batch(trust.Batch{Task: task, Geometry: p2p.GeometryFor(1), Digests: make([]p2p.PieceDigest, 1)}, now.Add(members))
					if err != nil {
						t.Fatal(err)
					}
					if _, err := trust.NewVerifier(ca).Batch(&b); err != nil {
						t.Error(err)
					}
				})
			}
		}
	}
}
