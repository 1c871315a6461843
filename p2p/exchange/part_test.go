package exchange

import (
	"bytes"
	"errors"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/p2p"
)

// Parts come as they were asked for, over the ends of pieces, among whole pieces.
func TestPartsAmongPieces(t *testing.T) {
	overTransports(t, func(t *testing.T, c *cluster) {
		a, b := c.host("a"), c.host("b")
		defer a.stop()
		defer b.stop()
		want := content(3<<20 + 77)
		g := p2p.GeometryFor(int64(len(want)))
		f := file(t, want)
		b.serve = func(h p2p.HostID, q Request) Answer {
			ans := served(g, bytes.NewReader(want))(h, q)
			if q.Length > 0 {
				ans.Length = int64(q.Length)
			}
			if q.ID%2 == 0 {
				ans.File, ans.Reader = f, nil
			}
			return ans
		}
		if !a.connect(t, b).Parts() {
			t.Fatal("b does not say that it answers")
		}
		s := a.stream(t, b)
		mustSend(t, s,
			Request{ID: 1, Task: task("a"), First: 1, Count: 1, Offset: 1000, Length: 1},
			Request{ID: 2, Task: task("a"), First: 2, Count: 1},
			Request{ID: 3, Task: task("a"), First: 0, Count: 1, Offset: 5, Length: 700_000},
			Request{ID: 4, Task: task("a"), First: 3, Count: 1, Offset: 9, Length: 600_000})
		at := func(p p2p.Piece, off, n int64) []byte { return want[g.Offset(p)+off : g.Offset(p)+off+n] }
		whole := bytes.Join([][]byte{at(1, 1000, 1), at(2, 0, g.Length(2)), at(0, 5, 700_000), at(3, 9, 600_000)}, nil)
		if got := readAll(t, s, 4); !bytes.Equal(got, whole) {
			t.Errorf("%d bytes came, or others than were sent", len(got))
		}
	})
}

// A part of another length than was asked for ends the connection before a byte is read.
func TestPartOfAnotherLength(t *testing.T) {
	asked := due{id: 7, piece: 3, offset: 17, count: 1, length: 1000}
	for name, tc := range map[string]struct {
		r  Reply
		ok bool
	}{
		"right":         {Reply{ID: 7, Piece: 3, Offset: 17, Length: 1000}, true},
		"short":         {Reply{ID: 7, Piece: 3, Offset: 17, Length: 999}, false},
		"long":          {Reply{ID: 7, Piece: 3, Offset: 17, Length: 1001}, false},
		"elsewhere":     {Reply{ID: 7, Piece: 3, Offset: 18, Length: 1000}, false},
		"another piece": {Reply{ID: 7, Piece: 4, Offset: 17, Length: 1000}, false},
		"busy":          {Reply{ID: 7, Status: StatusBusy, Piece: 3}, true},
	} {
		s := &stream{due: []due{asked}}
		if err := s.match(tc.r); (err == nil) != tc.ok || err != nil && !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A peer that does not know parts is not asked for any.
func TestPartsOfOldPeers(t *testing.T) {
	l := &link{host: "old"}
	l.heed(hello{version: protocolVersion, flags: helloTLSData})
	if l.Parts() {
		t.Error("it is said to answer")
	}
	if err := (&stream{link: l}).Send(somePart()); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
}
