package exchange

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/darter-p2p/darter/p2p"
)

// FuzzFrames reads a control channel's bytes. What is accepted is written and read
// again, to the same.
func FuzzFrames(f *testing.F) {
	var e encoder
	var wire []byte
	for _, m := range everyMessage() {
		start := len(wire)
		wire, _ = e.message(wire, m)
		f.Add(wire[start:])
	}
	f.Add(wire)
	f.Add(e.have(nil, task("a"), []p2p.Piece{1, 2, 3, 9, 65534}))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, _ := decodeAll(b)
		var e encoder
		var wire []byte
		for _, m := range got {
			var err error
			if h, ok := m.(Have); ok {
				wire = e.have(wire, h.Task, h.Pieces)
			} else if wire, err = e.message(wire, m); err != nil {
				t.Fatalf("%+v was read and cannot be written: %v", m, err)
			}
		}
		again, err := decodeAll(wire)
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Fatalf("read again: %+v, %v, want %+v", again, err, got)
		}
	})
}

func FuzzHello(f *testing.F) {
	f.Add(appendHello(nil, hello{version: protocolVersion, epoch: 5})[frameHeaderLen:])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHello(b)
		if err == nil && !bytes.Equal(appendHello(nil, h)[frameHeaderLen:], b[:10]) {
			t.Fatalf("%x was read as %+v", b, h)
		}
		_, _ = parseAnswer(kindReject, b)
	})
}

func FuzzRequest(f *testing.F) {
	f.Add(appendRequest(nil, someRequest()))
	f.Add(appendRequest(nil, Request{Task: task("b"), First: AnyPiece, Count: 1}))
	f.Add(appendRequest(nil, somePart()))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRequest(b)
		if err == nil && !bytes.Equal(appendRequest(nil, r), b) {
			t.Fatalf("%x was read as %+v", b, r)
		}
	})
}

func FuzzReply(f *testing.F) {
	f.Add(appendReply(nil, Reply{ID: 9, Piece: 4, Offset: 3, Length: 1 << 20}))
	f.Add(appendReply(nil, Reply{ID: 9, Status: StatusBusy}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseReply(b)
		if err == nil && !bytes.Equal(appendReply(nil, r), b) {
			t.Fatalf("%x was read as %+v", b, r)
		}
	})
}

func FuzzGrant(f *testing.F) {
	f.Add(appendGrant(nil, []byte("key"), "asker", "server", grantLife))
	f.Add([]byte{grantMagic, grantVersion, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := parseGrant(b)
		if err == nil && !bytes.Equal(append(g.appendSigned(nil), g.mac[:]...), b) {
			t.Fatalf("%x was read as %+v", b, g)
		}
		if err == nil && (&gate{key: []byte("other"), self: "server"}).admit(g, 0) == nil {
			t.Fatal("a grant under another key was admitted")
		}
	})
}
