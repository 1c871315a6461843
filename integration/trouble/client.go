package trouble

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/integration/lab"
)

// patience ends a client that nobody answers.
const patience = 2 * time.Minute

// outcome is what one client got.
type outcome struct {
	status int
	bytes  int64
	right  bool          // the whole content
	first  time.Duration // to the first byte, or to the refusal
	took   time.Duration
	idle   time.Duration // the longest without a byte
	err    error
}

func (o outcome) String() string {
	switch {
	case o.right:
		return "ok"
	case o.status == http.StatusOK && o.err != nil:
		return "broken off"
	case o.status == http.StatusOK:
		return "WRONG BYTES"
	case o.status == 0:
		return "no answer"
	}
	return fmt.Sprint(o.status)
}

// get reads a blob as a client on a host does, and at most limit bytes of it, 0 = all.
func get(ctx context.Context, from *lab.Host, url, want string, limit int64) (o outcome) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	transport := from.Transport()
	transport.DisableCompression = true
	defer transport.CloseIdleConnections()
	began := time.Now()
	defer func() { o.took = time.Since(began) }()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return outcome{err: err}
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return outcome{err: err, first: time.Since(began)}
	}
	defer response.Body.Close()
	o.status = response.StatusCode
	sum := sha256.New()
	buf := make([]byte, 64<<10)
	for last := began; limit == 0 || o.bytes < limit; {
		n, err := response.Body.Read(buf)
		now := time.Now()
		if o.bytes == 0 {
			o.first = now.Sub(began)
		} else {
			o.idle = max(o.idle, now.Sub(last))
		}
		last = now
		o.bytes += int64(n)
		sum.Write(buf[:n])
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			o.err = err
			return o
		}
	}
	o.right = o.status == http.StatusOK && (limit > 0 || digest.NewDigest(digest.SHA256, sum).String() == want)
	return o
}

// crowd lets the clients of all nodes get a content at once.
func (s *stage) crowd(digest string, limit int64, nodes ...*lab.Darterd) []outcome {
	got := make([]outcome, len(nodes))
	var all sync.WaitGroup
	for i, n := range nodes {
		all.Go(func() { got[i] = get(s.t.Context(), n.Host, s.mirrorURL(digest), digest, limit) })
	}
	all.Wait()
	return got
}
