package exchange

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/trust"
)

func task(name string) p2p.TaskID { return p2p.TaskOfURL(name, "", "") }

func setOf(n int, pieces ...p2p.Piece) *p2p.PieceSet {
	s := p2p.NewPieceSet(n)
	for _, p := range pieces {
		s.Add(p)
	}
	return s
}

func fullSet(n int) *p2p.PieceSet {
	s := p2p.NewPieceSet(n)
	s.Fill()
	return s
}

func someBatch() trust.Batch {
	g := p2p.GeometryFor(10 << 20)
	return trust.Batch{
		Task: task("a"), Geometry: g, First: 2, Digests: []p2p.PieceDigest{{1}, {2}},
		Signed: time.Unix(1700000000, 0).UTC(), Cert: []byte("cert"), Sig: []byte("sig"),
	}
}

func someRevocation() trust.Revocation {
	return trust.Revocation{
		Task: task("a"), Origin: "https://r.example/x", Signer: "seed-1", Reason: "sha256 differs",
		Signed: time.Unix(1700000000, 0).UTC(), Cert: []byte("cert"), Sig: []byte("sig"),
	}
}

// everyMessage has one of each kind and each form, Name frames included.
func everyMessage() []Message {
	big, small := p2p.GeometryFor(100<<20), p2p.GeometryFor(3<<20)
	return []Message{
		Bitmap{Task: task("a")},
		Bitmap{Task: task("a"), Geometry: big, Have: setOf(big.Pieces(), 0, 7, 399)},
		Bitmap{Task: task("b"), Geometry: small, Have: fullSet(small.Pieces())},
		Bitmap{Task: task("b"), Geometry: small, Have: setOf(small.Pieces())},
		Bitmap{Task: task("c"), Geometry: p2p.GeometryFor(0), Have: p2p.NewPieceSet(0)},
		Digests{Batch: someBatch()},
		Prune{Task: task("a")},
		Graft{Task: task("a"), Pieces: []p2p.Piece{0, 3, 4, 399}},
		Graft{Task: task("never named"), Pieces: []p2p.Piece{maxPieces - 1}},
		Revoke{Revocation: someRevocation()},
		Leave{Task: task("b")},
		Bitmap{Task: task("d")}, // takes b's name
		Leave{Task: task("never named")},
		Reading{Task: task("a"), Reading: p2p.Reading{Origin: "oci://r.example/x/blobs/y", Public: true, Seen: time.Unix(1700000000, 0).UTC()}},
		Reading{Task: task("never named"), Reading: p2p.Reading{Seen: time.Unix(0, 0).UTC()}},
		AskToken{Task: task("a"), Origin: "oci://r.example/x/blobs/y"},
		Token{Task: task("a"), Origin: "oci://r.example/x/blobs/y", Bearer: "abc.def"},
		Token{Task: task("never named")},
		Free{}, Cancel{ID: 1 << 31}, Ping{Nonce: 7}, Pong{Nonce: 1 << 63},
	}
}

// decodeAll reads frames to the end of b.
func decodeAll(b []byte) ([]Message, error) {
	f := frameReader{r: bytes.NewReader(b)}
	var d decoder
	var out []Message
	for {
		kind, payload, err := f.next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		m, err := d.message(kind, payload)
		if err != nil {
			return out, err
		}
		if m != nil {
			out = append(out, m)
		}
	}
}

func TestMessagesSurviveTheWire(t *testing.T) {
	var e encoder
	var wire []byte
	for _, m := range everyMessage() {
		var err error
		if wire, err = e.message(wire, m); err != nil {
			t.Fatal(err)
		}
	}
	got, err := decodeAll(wire)
	if err != nil {
		t.Fatal(err)
	}
	want := everyMessage()
	if len(got) != len(want) {
		t.Fatalf("%d messages, want %d", len(got), len(want))
	}
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("message %d: %+v, want %+v", i, got[i], want[i])
		}
	}
}

func TestHavesSurviveTheWire(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		set := p2p.NewPieceSet(p2p.MaxPieces - 1)
		var pieces []p2p.Piece
		for range 1 + rng.IntN(200) {
			first := p2p.Piece(rng.IntN(p2p.MaxPieces - 1))
			for p := first; p < first+p2p.Piece(1+rng.IntN(5)) && int(p) < set.Len(); p++ {
				set.Add(p)
				pieces = append(pieces, p, p) // repeats are dropped
			}
		}
		rng.Shuffle(len(pieces), func(i, j int) { pieces[i], pieces[j] = pieces[j], pieces[i] })
		var e encoder
		got, err := decodeAll(e.have(nil, task("a"), pieces))
		if err != nil {
			t.Fatal(err)
		}
		back := setOf(set.Len(), got[0].(Have).Pieces...)
		if !reflect.DeepEqual(back, set) || len(got[0].(Have).Pieces) != set.Count() {
			t.Fatal("have changed on the wire")
		}
	}
}

func TestTheHotMessageIsSmallAndFree(t *testing.T) {
	o := newOutbox(1 << 20)
	have := Have{Task: task("a"), Pieces: []p2p.Piece{300}}
	var m Message = have
	_ = o.add(m)
	spare := o.take(nil)
	_ = o.add(m)
	if b := o.take(spare); len(b) != 7 {
		t.Errorf("a Have of one piece takes %d bytes, want 7", len(b))
	}
	buf := make([]byte, 0, 1<<10)
	other := make([]byte, 0, 1<<10)
	if n := testing.AllocsPerRun(100, func() {
		_ = o.add(m)
		buf, other = o.take(other), buf
	}); n != 0 {
		t.Errorf("a Have takes %v allocations", n)
	}
}

func TestWhatIsNotAllowedOnALink(t *testing.T) {
	frame := func(k frameKind, payload ...byte) []byte {
		return endFrame(append(beginFrame(nil, k), payload...), 0)
	}
	id := task("a").AppendBinary(nil)
	inline := append([]byte{0}, id...)
	cases := map[string][]byte{
		"a frame longer than its kind":    {0, 0, 9, byte(kindPing)},
		"an unknown frame over the limit": {0x10, 0, 1, 200},
		"a cut frame":                     {0, 0, 8, byte(kindPing), 1},
		"too short a ping":                frame(kindPing, 1, 2, 3),
		"bytes after a free":              frame(kindFree, 1),
		"a second hello":                  appendHello(nil, hello{version: 1}),
		"an unknown name":                 frame(kindLeave, 9),
		"the name 0":                      frame(kindName, append([]byte{0}, id...)...),
		"a name too high":                 frame(kindName, append([]byte{0x81, 0x20}, id...)...),
		"a task of unknown kind":          frame(kindLeave, append([]byte{0, 9}, id[1:]...)...),
		"a have of nothing":               frame(kindHave, inline...),
		"a have beyond the last piece":    frame(kindHave, append(inline, 0xFF, 0xFF, 0x0F)...),
		"a run beyond the last piece":     frame(kindHave, append(inline, 1, 0xFF, 0xFF, 0x03)...),
		"a bitmap of odd geometry":        frame(kindBitmap, append(inline, setEmpty, 100, 7)...),
		"a short bitmap":                  frame(kindBitmap, append(inline, setBits, 0x80, 0x80, 0xC0, 1, 0x80, 0x80, 0x10)...),
		"a bitmap of unknown form":        frame(kindBitmap, append(inline, 9, 0, 1)...),
		"digests of nothing":              frame(kindDigests),
		"a reading of nothing":            frame(kindReading, inline...),
		"a question that is cut":          frame(kindAsk, append(inline, 5, 'o')...),
		"an origin that is too long":      frame(kindAsk, append(inline, 0x81, 0x20)...),
		"a token with bytes left over":    frame(kindToken, append(inline, 0, 1, 'x', 'y')...),
		"a token that would break a line": frame(kindToken, append(inline, 0, 2, 'x', '\n')...),
		"a malformed revocation":          frame(kindRevoke, 'R', 1),
	}
	for name, wire := range cases {
		if m, err := decodeAll(wire); !errors.Is(err, ErrProtocol) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: decoded to %d messages, error %v", name, len(m), err)
		}
	}
}

func TestUnknownFramesAreSkipped(t *testing.T) {
	wire := endFrame(append(beginFrame(nil, 99), make([]byte, 3000)...), 0)
	start := len(wire)
	wire = endFrame(beginFrame(wire, kindFree), start)
	got, err := decodeAll(wire)
	if err != nil || !reflect.DeepEqual(got, []Message{Free{}}) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestNamesRunOut(t *testing.T) {
	var e encoder
	var wire []byte
	want := maxNames + 10
	for i := range want {
		wire = e.have(wire, task(string(binary.BigEndian.AppendUint32(nil, uint32(i)))), []p2p.Piece{1})
	}
	got, err := decodeAll(wire)
	if err != nil || len(got) != want {
		t.Fatalf("%d messages, %v", len(got), err)
	}
	for i, m := range got {
		if m.(Have).Task != task(string(binary.BigEndian.AppendUint32(nil, uint32(i)))) {
			t.Fatalf("message %d is of another task", i)
		}
	}
}

func TestHello(t *testing.T) {
	b := appendHello(nil, hello{version: protocolVersion, flags: helloTLSData, epoch: 77})
	if h, err := parseHello(append(b[frameHeaderLen:], "from a newer peer"...)); err != nil || h.epoch != 77 || h.flags != helloTLSData {
		t.Errorf("got %+v, %v", h, err)
	}
	for _, bad := range [][]byte{nil, {1}, {2, 0, 0, 0, 0, 0, 0, 0, 0, 0}} {
		if _, err := parseHello(bad); !errors.Is(err, ErrProtocol) {
			t.Errorf("hello %x: %v", bad, err)
		}
	}
	if _, err := parseAnswer(kindReject, []byte{byte(rejectDuplicate)}); !errors.Is(err, errDuplicate) {
		t.Errorf("rejected duplicate: %v", err)
	}
	for _, k := range []frameKind{kindReject, kindFree} {
		if _, err := parseAnswer(k, nil); !errors.Is(err, ErrProtocol) {
			t.Errorf("answer of kind %d: %v", k, err)
		}
	}
}

func someRequest() Request {
	return Request{ID: 9, Task: task("a"), First: 3, Count: 2, Offset: 17, Class: p2p.Urgent}
}

func somePart() Request {
	return Request{ID: 9, Task: task("a"), First: 3, Count: 1, Offset: 17, Class: p2p.Urgent, Length: 1 << 20}
}

func TestRequestHeader(t *testing.T) {
	for _, r := range []Request{someRequest(), {Task: task("b"), First: AnyPiece, Count: 1}, somePart()} {
		b := appendRequest(nil, r)
		length := requestLen
		if r.Length > 0 {
			length += partLen
		}
		if got, err := parseRequest(b); err != nil || got != r || len(b) != length || isPart(b) != (r.Length > 0) {
			t.Errorf("%d bytes: %+v, %v, want %+v", len(b), got, err, r)
		}
	}
	bad := map[string]func(*Request){
		"no piece":            func(r *Request) { r.Count = 0 },
		"no task":             func(r *Request) { r.Task = p2p.TaskID{} },
		"two of any":          func(r *Request) { r.First, r.Offset = AnyPiece, 0 },
		"any with an offset":  func(r *Request) { r.First, r.Count = AnyPiece, 1 },
		"beyond the last":     func(r *Request) { r.First = p2p.MaxPieces - 2 },
		"offset out of range": func(r *Request) { r.Offset = 1<<31 + 1 },
		"unknown class":       func(r *Request) { r.Class = 3 },
		"part of two":         func(r *Request) { r.Length = 5 },
		"part of any":         func(r *Request) { r.First, r.Count, r.Offset, r.Length = AnyPiece, 1, 0, 5 },
		"long part":           func(r *Request) { r.Count, r.Length = 1, MaxPart+1 },
	}
	for name, spoil := range bad {
		r := someRequest()
		spoil(&r)
		if _, err := parseRequest(appendRequest(nil, r)); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A part without a length, and a length without a part, are no requests.
func TestPartHeader(t *testing.T) {
	b := appendRequest(nil, somePart())
	zero := append(bytes.Clone(b[:requestLen]), 0, 0, 0, 0)
	bare := bytes.Clone(b)
	bare[requestLen-1] &^= requestPart
	for name, b := range map[string][]byte{"cut": b[:len(b)-1], "no length": b[:requestLen], "length 0": zero, "not said": bare, "more": append(b, 0)} {
		if _, err := parseRequest(b); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReplyHeader(t *testing.T) {
	want := Reply{ID: 9, Status: StatusOK, Piece: 4, Offset: 3, Length: 1 << 20}
	b := appendReply(nil, want)
	if got, err := parseReply(b); err != nil || got != want || len(b) != replyLen {
		t.Errorf("%d bytes: %+v, %v", len(b), got, err)
	}
	for _, bad := range []Reply{
		{Status: StatusRefused + 1},
		{Status: StatusBusy, Length: 1},
		{Piece: p2p.MaxPieces - 1},
		{Offset: 1 << 31, Length: 1},
	} {
		if _, err := parseReply(appendReply(nil, bad)); !errors.Is(err, ErrProtocol) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestGrant(t *testing.T) {
	key := bytes.Repeat([]byte{7}, 32)
	fresh := func() []byte { return appendGrant(nil, key, "asker", "server", 40*time.Second) }
	spoilt := func(i int) []byte {
		b := fresh()
		b[i] ^= 1
		return b
	}
	n := len(fresh())
	cases := []struct {
		name string
		wire []byte
		key  []byte
		self p2p.HostID
		at   time.Duration
		ok   bool
	}{
		{"good", fresh(), key, "server", 10 * time.Second, true},
		{"to its last moment", fresh(), key, "server", 40 * time.Second, true},
		{"expired", fresh(), key, "server", 40*time.Second + time.Millisecond, false},
		{"too long a life", appendGrant(nil, key, "asker", "server", time.Hour), key, "server", 0, false},
		{"another key", fresh(), bytes.Repeat([]byte{8}, 32), "server", 0, false},
		{"for another host", fresh(), key, "asker", 0, false},
		{"another host's name", spoilt(grantFront), key, "server", 0, false},
		{"another nonce", spoilt(grantFront + 5), key, "server", 0, false},
		{"another expiry", spoilt(n - sha256.Size - 1), key, "server", 0, false},
		{"another code", spoilt(n - 1), key, "server", 0, false},
		{"another magic", spoilt(0), key, "server", 0, false},
		{"another version", spoilt(1), key, "server", 0, false},
		{"cut", fresh()[:n-1], key, "server", 0, false},
		{"longer", append(fresh(), 0), key, "server", 0, false},
	}
	for _, c := range cases {
		at := gate{key: c.key, self: c.self}
		g, err := parseGrant(c.wire)
		if err == nil {
			err = at.admit(g, c.at)
		}
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.ok {
			if err := at.admit(g, c.at); !errors.Is(err, ErrProtocol) {
				t.Errorf("%s, again: %v", c.name, err)
			}
		}
	}
}

func TestGateForgetsWhatExpired(t *testing.T) {
	key := []byte("key")
	g := gate{key: key, self: "b"}
	admit := func(at time.Duration) error {
		in, err := parseGrant(appendGrant(nil, key, "a", "b", at+grantLife))
		if err != nil {
			t.Fatal(err)
		}
		return g.admit(in, at)
	}
	for range maxGrants {
		if err := admit(0); err != nil {
			t.Fatal(err)
		}
	}
	if err := admit(0); err == nil {
		t.Error("more grants than are remembered were admitted")
	}
	if err := admit(grantLife + time.Second); err != nil || len(g.used) != 1 {
		t.Errorf("after their life: %v, %d remembered", err, len(g.used))
	}
}
