package sourcetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/p2p"
)

func TestMemory(t *testing.T) {
	Run(t, func(*testing.T) Origin {
		m, n := NewMemory(), 0
		return Origin{
			Source: m,
			Put: func(_ *testing.T, data []byte) p2p.Origin {
				n++
				o := p2p.Origin(fmt.Sprintf("mem://%d", n))
				m.Put(o, Content{Data: data})
				return o
			},
			Missing: "mem://missing",
			Fail:    func(_ *testing.T, o p2p.Origin, f Failure) { m.Fail(o, f) },
		}
	})
}

func TestMemoryCorruptOnce(t *testing.T) {
	m := NewMemory()
	m.Put("o", Content{Data: []byte("hello world")})
	m.Fail("o", Failure{Corrupt: true, After: 6, Chunk: 4, Times: 1})
	want := []byte("hello world")
	for i := range want[6:] {
		want[6+i] ^= 0xff
	}
	for _, want := range [][]byte{want, []byte("hello world")} {
		resp, err := m.Open(t.Context(), source.Request{Origin: "o", Length: -1})
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	if got := m.Served("o"); got != 22 {
		t.Errorf("served %d bytes, want 22", got)
	}
	if err := m.WaitRequests(t.Context(), 2); err != nil || len(m.Requests()) != 2 {
		t.Errorf("%v, %d requests", err, len(m.Requests()))
	}
}

func TestMemoryAuthorization(t *testing.T) {
	m := NewMemory()
	m.Put("o", Content{Data: []byte("secret"), Authorization: "Bearer t"})
	r := source.Request{Origin: "o", Length: -1}
	if _, err := m.Open(t.Context(), r); !errors.Is(err, errdefs.ErrUnauthenticated) {
		t.Errorf("anonymous: %v", err)
	}
	r.Header = map[string][]string{"Authorization": {"Bearer t"}}
	if _, err := m.Open(t.Context(), r); err != nil {
		t.Errorf("with the token: %v", err)
	}
}
