package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/source/sourcetest"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/exchange"
	p2pnode "github.com/darter-p2p/darter/p2p/node"
)

// urgent asks for a range as the lazy loader does.
func (v Content) urgent(verifies bool) fetcher.Content {
	c := v.Ask("app")
	c.Urgent, c.Verifies = true, verifies
	if v.auth != "" {
		c.Header = http.Header{"Authorization": {v.auth}}
	}
	return c
}

// partly starts a seed, a neighbour with the whole content, and a node that knows both and
// holds one piece.
func partly(t testing.TB, c *Cluster, v Content, near, node Options) (holder, reader *Node) {
	t.Helper()
	c.Start(pki.Seed, "seed", Options{})
	if node.Config == nil { // machines of tests are slow
		node.Config = func(c *p2pnode.Config) { c.PartStall, c.PartSettle = time.Minute, time.Hour }
	}
	holder = c.Start(pki.Node, "near", near)
	fetch(t, holder, v.urgent(false), fetcher.All)
	reader = c.Start(pki.Node, "node", node)
	fetch(t, reader, v.urgent(true), fetcher.Range{Offset: 0, Length: 1000})
	for late := time.Now().Add(time.Minute); !introduced(reader, v); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("the node is not told what others hold")
		}
	}
	return holder, reader
}

// introduced reports whether a node knows that near holds everything, and the seed, which
// has none of a private content.
func introduced(n *Node, v Content) bool {
	s, _ := n.Task(v.Task)
	full := 0
	for _, p := range s.Peers {
		if p.Linked && p.Pieces == s.Geometry.Pieces() && (v.auth == "" || p.Host.ID == "near") {
			full++
		}
	}
	return full == 2 || full == 1 && v.auth != ""
}

// fetch reads a range to its end and closes it.
func fetch(t testing.TB, n *Node, c fetcher.Content, r fetcher.Range) (*fetcher.Body, []byte) {
	t.Helper()
	body, err := n.Fetcher.Open(t.Context(), c, r)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	var all bytes.Buffer
	_, err = io.Copy(&all, body.ReadCloser)
	b := all.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return body, b
}

// A reader who is blocked and verifies what he reads gets exactly his bytes of a neighbour,
// and nothing of them is kept. Others get them by pieces.
func TestPart(t *testing.T) {
	c := New(t)
	v := c.Put("app", 8<<20)
	_, n := partly(t, c, v, Options{}, Options{})
	piece := p2p.GeometryFor(int64(len(v.Data))).PieceLength
	before := n.held(v)
	for _, r := range []fetcher.Range{
		{Offset: 4 * piece, Length: 1}, {Offset: 6*piece + 100, Length: 70_000}, {Offset: 9*piece - 10, Length: 20},
		{Offset: 11*piece + 1, Length: 3 * piece}, {Offset: int64(len(v.Data)) - 5, Length: 5},
	} {
		body, got := fetch(t, n, v.urgent(true), r)
		if body.Unverified != "near" || body.Size != int64(len(v.Data)) || body.From != "swarm" {
			t.Errorf("%+v came from %q, %q", r, body.Unverified, body.From)
		}
		if !bytes.Equal(got, v.Data[r.Offset:r.Offset+r.Length]) {
			t.Errorf("%+v: %d bytes, or others", r, len(got))
		}
	}
	if now := n.held(v); now != before {
		t.Errorf("%d pieces are kept, %d were", now, before)
	}
	window := v.Ask("app")
	window.Verifies = true
	for name, q := range map[string]fetcher.Content{"who does not verify": v.urgent(false), "who does not wait": window} {
		at := map[string]int64{"who does not verify": 20, "who does not wait": 22}[name] * piece
		body, got := fetch(t, n, q, fetcher.Range{Offset: at, Length: 10})
		if body.Unverified != "" || !bytes.Equal(got, v.Data[at:at+10]) {
			t.Errorf("a reader %s got bytes of %q", name, body.Unverified)
		}
	}
	if now := n.held(v); now != before+2 {
		t.Errorf("%d pieces are kept, want %d", now, before+2)
	}
	// What is here is read here, and what is read again and again comes as a piece.
	if body, _ := fetch(t, n, v.urgent(true), fetcher.Range{Offset: 20 * piece, Length: 10}); body.Unverified != "" || body.From != "store" {
		t.Errorf("a piece that is here came from %q", body.From)
	}
	for i := range int64(4) {
		body, _ := fetch(t, n, v.urgent(true), fetcher.Range{Offset: 26*piece + i*piece/4, Length: piece / 4})
		if byPiece := body.Unverified == ""; byPiece != (i >= 2) {
			t.Errorf("quarter %d of a piece: by piece %v", i, byPiece)
		}
	}
	s, _ := n.Task(v.Task)
	if s.FromOrigin != 0 {
		t.Errorf("%d bytes of the origin", s.FromOrigin)
	}
}

// What a node has read by parts it has for others a while later.
func TestPartSettles(t *testing.T) {
	c := New(t)
	v := c.Put("app", 8<<20)
	_, n := partly(t, c, v, Options{}, Options{Config: func(c *p2pnode.Config) { c.PartStall, c.PartSettle = time.Minute, time.Millisecond }})
	piece := p2p.GeometryFor(int64(len(v.Data))).PieceLength
	before := n.held(v)
	if body, _ := fetch(t, n, v.urgent(true), fetcher.Range{Offset: 5*piece - 10, Length: 20}); body.Unverified == "" {
		t.Errorf("it came from %s by pieces", body.From)
	}
	for late := time.Now().Add(time.Minute); n.held(v) != before+2; time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("%d pieces are kept, want %d", n.held(v), before+2)
		}
	}
}

// A neighbour that lies in a part reaches nothing but a reader who verifies: the store and
// others get right bytes, and the one whom the reader accuses is banned.
func TestPartLies(t *testing.T) {
	c := New(t)
	v := c.Put("app", 8<<20)
	var b bans
	holder, n := partly(t, c, v, Options{}, Options{Events: b.events()})
	spoil(t, filepath.Join(c.dir, "near"))
	piece := p2p.GeometryFor(int64(len(v.Data))).PieceLength
	r := fetcher.Range{Offset: 4*piece + 5, Length: 50_000}
	want := v.Data[r.Offset : r.Offset+r.Length]
	body, got := fetch(t, n, v.urgent(true), r)
	if body.Unverified != string(holder.ID) || bytes.Equal(got, want) {
		t.Fatalf("right bytes, of %q", body.Unverified)
	}
	if b.reason("near") != "" {
		t.Error("banned by nobody's word")
	}
	n.Accuse(v.Task, "seed") // which gave no part
	if err := n.Fetcher.Accuse(v.Digest, body.Unverified); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.reason("near"), "part") || b.reason("seed") != "" {
		t.Errorf("near is banned for %q, the seed for %q", b.reason("near"), b.reason("seed"))
	}
	body, got = fetch(t, n, v.urgent(true), fetcher.Range{Offset: 8 * piece, Length: 10})
	if body.Unverified != "seed" || !bytes.Equal(got, v.Data[8*piece:8*piece+10]) {
		t.Errorf("then %x came from %q", got, body.Unverified)
	}
	if err := read(patience(t), n, v, fetcher.All); err != nil {
		t.Errorf("who verifies nothing: %v", err)
	}
}

// bad is a node that answers requests for parts as it likes.
type bad struct {
	exchange.Handler
	part func(exchange.Answer) exchange.Answer
}

func (b bad) Serve(from p2p.HostID, r exchange.Request) exchange.Answer {
	a := b.Handler.Serve(from, r)
	if r.Length > 0 && a.Status == exchange.StatusOK {
		a = b.part(a)
	}
	return a
}

// breaks ends after some bytes.
type breaks struct {
	io.ReaderAt
	at, after int64
	hangs     <-chan struct{} // nil = the connection ends there
}

func (b breaks) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > b.at+b.after {
		if b.hangs != nil {
			<-b.hangs
		}
		return 0, errors.New("as the test wants it")
	}
	return b.ReaderAt.ReadAt(p, off)
}

// A neighbour that sends less than a part, more or nothing delays its reader, who gets the
// rest by pieces.
func TestPartBreaks(t *testing.T) {
	var over chan struct{} // closed when those who wait are to end
	for name, change := range map[string]func(exchange.Answer) exchange.Answer{
		"less": func(a exchange.Answer) exchange.Answer { a.Length /= 2; return a },
		"more": func(a exchange.Answer) exchange.Answer { a.Length += 100; return a },
		"nothing": func(a exchange.Answer) exchange.Answer {
			a.File, a.Reader = nil, breaks{a.Reader, a.Start, 0, over}
			return a
		},
		"half, and ends": func(a exchange.Answer) exchange.Answer {
			a.File, a.Reader = nil, breaks{a.Reader, a.Start, 128 << 10, nil}
			return a
		},
		"half, and waits": func(a exchange.Answer) exchange.Answer {
			a.File, a.Reader = nil, breaks{a.Reader, a.Start, 128 << 10, over}
			return a
		},
		"busy": func(a exchange.Answer) exchange.Answer {
			a.Done(0, nil)
			return exchange.Answer{Status: exchange.StatusBusy, Piece: a.Piece}
		},
		"another piece": func(a exchange.Answer) exchange.Answer { a.Piece++; return a },
	} {
		t.Run(name, func(t *testing.T) {
			c := New(t)
			over = make(chan struct{})
			v := c.Put("app", 3<<20)
			near := Options{Handler: func(h exchange.Handler) exchange.Handler { return bad{h, change} }}
			_, n := partly(t, c, v, near, Options{Config: func(c *p2pnode.Config) { c.PartStall = 50 * time.Millisecond }})
			t.Cleanup(func() { close(over) })
			piece := p2p.GeometryFor(int64(len(v.Data))).PieceLength
			_, got := fetch(t, n, v.urgent(true), fetcher.Range{Offset: 2 * piece, Length: piece})
			if !bytes.Equal(got, v.Data[2*piece:3*piece]) {
				t.Errorf("%d bytes, or others", len(got))
			}
		})
	}
}

// Who may not have a private content gets no part of it, though his own node could.
func TestPartPrivate(t *testing.T) {
	c := New(t)
	v := c.Put("app", 8<<20)
	v.auth = "Basic eWVz"
	c.Origin.Put(v.Origin, sourcetest.Content{Data: v.Data, Authorization: v.auth})
	_, n := partly(t, c, v, Options{}, Options{})
	r := fetcher.Range{Offset: 4 << 20, Length: 10}
	for _, auth := range []string{"", "Basic bm8="} {
		v.auth = auth
		body, err := n.Fetcher.Open(t.Context(), v.urgent(true), r)
		if err == nil {
			_ = body.Close()
			t.Fatalf("%q opens it", auth)
		}
		if !errdefs.IsUnauthorized(err) {
			t.Error(err)
		}
	}
	v.auth = "Basic eWVz"
	if body, got := fetch(t, n, v.urgent(true), r); body.Unverified == "" || !bytes.Equal(got, v.Data[4<<20:4<<20+10]) {
		t.Errorf("who may have it got %x of %q", got, body.Unverified)
	}
}

// BenchmarkUrgent reads single ranges of a neighbour, by pieces and as parts, by turns.
func BenchmarkUrgent(b *testing.B) {
	c := New(b)
	v := c.Put("app", 400<<20)
	_, n := partly(b, c, v, Options{}, Options{})
	at := int64(0)
	for _, length := range []int64{96 << 10, 768 << 10} {
		var took [2][]time.Duration
		b.Run(fmt.Sprint(length>>10, "KiB"), func(b *testing.B) {
			for i := range b.N {
				if at += 3 << 20; at > 396<<20 {
					b.Fatal("want a shorter -benchtime")
				}
				start := time.Now()
				_, _ = fetch(b, n, v.urgent(i%2 == 0), fetcher.Range{Offset: at, Length: length})
				took[i%2] = append(took[i%2], time.Since(start))
			}
			for i, name := range []string{"part-µs", "pieces-µs"} {
				b.ReportMetric(float64(median(took[i]).Microseconds()), name)
			}
		})
	}
}

func median(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2]
}
