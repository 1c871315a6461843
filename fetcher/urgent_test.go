package fetcher

import (
	"bytes"
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/fetcher/registry"
	"github.com/darter-p2p/darter/fetcher/source/sourcetest"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/node"
)

// silent is a piece network that never answers.
type silent struct{}

func (silent) Open(ctx context.Context, _ node.Want) (*node.Reader, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}
func (silent) Task(p2p.TaskID) (node.Snapshot, bool) { return node.Snapshot{}, false }
func (silent) CountOrigin(p2p.TaskID, int64)         {}

// Where the piece network is silent, what a program is blocked on comes from the origin
// before a lazy loader gives up; others leave it more time.
func TestUrgentBytesComeSoon(t *testing.T) {
	for name, tc := range map[string]struct {
		urgent bool
		after  time.Duration
	}{"urgent": {true, 2 * time.Second}, "in order": {false, 8 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				data := []byte("a blob's bytes")
				c := Content{Registry: "registry.test", Repository: "app", Kind: Blob, Digest: digest.FromBytes(data), Urgent: tc.urgent}
				origin := sourcetest.NewMemory()
				origin.Put(registry.Origin(c.Registry, c.Repository, registry.Blobs, c.Digest.String()), sourcetest.Content{Data: data})
				l, err := New(Default(), silent{}, origin, Options{})
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				began := time.Now()
				body, err := l.Open(t.Context(), c, Range{2, 4})
				if err != nil {
					t.Fatal(err)
				}
				defer body.Close()
				if waited := time.Since(began); waited != tc.after {
					t.Errorf("waited %v, want %v", waited, tc.after)
				}
				if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, data[2:6]) {
					t.Errorf("%q, %v", got, err)
				}
			})
		})
	}
}
