package cluster

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/source/sourcetest"
	"github.com/darter-p2p/darter/internal/pki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// read reads a range of a content through a node and compares it with the truth.
func read(ctx context.Context, n *Node, v Content, r fetcher.Range) error {
	body, err := n.Fetcher.Open(ctx, v.Ask("app"), r)
	if err != nil {
		return err
	}
	defer body.Close()
	want := bytes.NewReader(v.Data[body.Offset : body.Offset+body.Length])
	got, truth := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, err := body.Read(got)
		if _, terr := io.ReadFull(want, truth[:n]); terr != nil || !bytes.Equal(got[:n], truth[:n]) {
			return fmt.Errorf("wrong bytes, %d before the end", want.Len())
		}
		switch {
		case err == io.EOF && want.Len() == 0: //nolint:errorlint // a body ends in io.EOF itself
			return nil
		case err != nil:
			return fmt.Errorf("%d bytes before the end: %w", want.Len(), err)
		}
	}
}

func patience(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestCrowd(t *testing.T) {
	c := New(t)
	v := c.Put("app", 24<<20)
	seed := c.Start(pki.Seed, "seed", Options{})
	var nodes []*Node
	for i := range 6 {
		nodes = append(nodes, c.Start(pki.Node, fmt.Sprintf("node%d", i), Options{}))
	}
	ctx := patience(t)
	var wg sync.WaitGroup
	begin := time.Now()
	for _, n := range nodes {
		wg.Go(func() {
			if err := read(ctx, n, v, fetcher.All); err != nil {
				t.Errorf("%s: %v", n.ID, err)
			}
		})
	}
	wg.Wait()
	t.Logf("took %v", time.Since(begin))
	if got := c.Origin.Served(v.Origin); got != int64(len(v.Data)) {
		t.Errorf("the origin sent %d bytes of a content of %d", got, len(v.Data))
	}
	s, _ := seed.Task(v.Task)
	t.Logf("seed sent %.2f copies", float64(s.Sent)/float64(len(v.Data)))
	for _, n := range nodes {
		s, _ := n.Task(v.Task)
		t.Logf("%s: peers %d seed %d origin %d twice %d complete %v", n.ID, s.FromPeers>>20, s.FromSeed>>20, s.FromOrigin>>20, s.Twice>>20, s.Complete)
		if s.FromPeers+s.FromSeed != int64(len(v.Data)) {
			t.Errorf("%s counts %d from peers, %d from the seed, of %d", n.ID, s.FromPeers, s.FromSeed, len(v.Data))
		}
	}
}

// A body that is asked to write itself gives files to writers that take them, also
// while the content is still arriving.
func TestBodyWritesItself(t *testing.T) {
	c := New(t)
	v := c.Put("app", 8<<20)
	c.Origin.Fail(v.Origin, sourcetest.Failure{Delay: time.Millisecond, Chunk: 64 << 10})
	c.Start(pki.Seed, "seed", Options{})
	n := c.Start(pki.Node, "node", Options{})
	for _, r := range []fetcher.Range{fetcher.All, {Offset: 100, Length: 3 << 20}} {
		body, err := n.Fetcher.Open(patience(t), v.Ask("app"), r)
		if err != nil {
			t.Fatal(err)
		}
		out, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		sent, err := body.ReadCloser.(io.WriterTo).WriteTo(out)
		if err != nil || sent != body.Length {
			t.Errorf("%+v: %d bytes, %v", r, sent, err)
		}
		got, _ := os.ReadFile(out.Name())
		if !bytes.Equal(got, v.Data[body.Offset:body.Offset+body.Length]) {
			t.Errorf("%+v: wrong bytes", r)
		}
		out.Close()
		body.Close()
	}
}
