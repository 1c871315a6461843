package budget

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/fetcher/source/sourcetest"
	"github.com/darter-p2p/darter/p2p"
)

const (
	one = "oci://a.test/x/blobs/sha256:1"
	two = "oci://a.test/y/blobs/sha256:2"
	far = "oci://b.test/y/blobs/sha256:2"
)

// world is a budget over an origin in memory that has everything.
func world() (Source, *sourcetest.Memory) {
	m := sourcetest.NewMemory()
	for _, o := range []string{one, two, far} {
		m.Put(p2p.Origin(o), sourcetest.Content{Data: []byte("x")})
	}
	return Source{m, New()}, m
}

func limited(m *sourcetest.Memory, o, retry string, times int) {
	m.Fail(p2p.Origin(o), sourcetest.Failure{Status: 429, Header: http.Header{"Retry-After": {retry}}, Times: times})
}

func open(t *testing.T, s source.Source, o string, h http.Header) *source.Error {
	t.Helper()
	resp, err := s.Open(context.Background(), source.Request{Origin: p2p.Origin(o), Length: -1, Header: h})
	if err == nil {
		_ = resp.Body.Close()
		return nil
	}
	var said *source.Error
	if !errors.As(err, &said) {
		t.Fatal(err)
	}
	return said
}

func TestLongPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := world()
		limited(m, one, "30", 1)
		if e := open(t, s, one, nil); e == nil || e.Status != 429 {
			t.Fatalf("the origin's own word: %v", e)
		}
		asked := len(m.Requests())
		time.Sleep(10 * time.Second)
		e := open(t, s, two, nil) // another content of the same server
		if e == nil || e.Status != 429 || e.RetryAfter != 20*time.Second || e.Header.Get("Retry-After") != "20" {
			t.Errorf("within the pause: %+v", e)
		}
		if _, err := s.Stat(context.Background(), source.Request{Origin: two}); err == nil {
			t.Error("HEAD within the pause")
		}
		if got := len(m.Requests()); got != asked {
			t.Errorf("the origin was asked %d times within the pause", got-asked)
		}
		if e := open(t, s, far, nil); e != nil {
			t.Errorf("another server: %v", e)
		}
		if e := open(t, s, two, http.Header{"Authorization": {"Bearer b"}}); e != nil {
			t.Errorf("with a credential: %v", e)
		}
		time.Sleep(18 * time.Second)
		if e := open(t, s, two, nil); e != nil { // waits the last two seconds
			t.Errorf("after the pause: %v", e)
		}
	})
}

func TestShortPauseIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := world()
		s.Book.Note(p2p.Origin(one), 429, 2*time.Second)
		began := time.Now()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if e := open(t, s, one, nil); e != nil {
					t.Error(e)
				}
			})
		}
		wg.Wait()
		if took := time.Since(began); took != 2*time.Second || len(m.Requests()) != 10 {
			t.Errorf("%v, %d requests", took, len(m.Requests()))
		}
		s.Book.Note(p2p.Origin(one), 429, 2*time.Second)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := s.Open(ctx, source.Request{Origin: p2p.Origin(one), Length: -1}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a reader who leaves: %v", err)
		}
	})
}

func TestWhatIsNoPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := world()
		for _, status := range []int{401, 404, 500, 503} { // 503 names no time
			m.Fail(p2p.Origin(one), sourcetest.Failure{Status: status, Times: 1})
			if e := open(t, s, one, nil); e == nil || e.Status != status {
				t.Fatalf("the origin's own word: %v", e)
			}
			began := time.Now()
			if e := open(t, s, one, nil); e != nil || time.Since(began) > 0 {
				t.Errorf("after %d: %v, %v", status, e, time.Since(began))
			}
		}
		s.Book.Note(p2p.Origin(one), 429, 24*time.Hour)
		if e := open(t, s, one, nil); e == nil || e.RetryAfter != most {
			t.Errorf("a day: %v", e)
		}
		s.Book.Note(p2p.Origin(one), 429, time.Second) // does not shorten it
		if e := open(t, s, one, nil); e == nil || e.RetryAfter != most {
			t.Errorf("then a second: %v", e)
		}
	})
}
