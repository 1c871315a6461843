package cluster

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/internal/pki"
)

// unbearable is what a client may wait in a test. The goal is 10 s for a word; the rest
// is left to machines that others use.
const unbearable = time.Minute

// rogue is a registry of one blob that misbehaves: its nth answer to a GET (from 1) is
// what behave does, if it returns true.
type rogue struct {
	data   []byte
	behave func(r *rogue, n int, w http.ResponseWriter, q *http.Request) bool
	end    chan struct{} // ends what hangs

	mu   sync.Mutex
	gets int
	sent int64
}

func newRogue(t *testing.T, data []byte, behave func(*rogue, int, http.ResponseWriter, *http.Request) bool) (r *rogue, host string) {
	r = &rogue{data: data, behave: behave, end: make(chan struct{})}
	s := httptest.NewServer(r)
	t.Cleanup(func() {
		close(r.end)
		s.Close()
	})
	return r, strings.TrimPrefix(s.URL, "http://")
}

func (r *rogue) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	if q.Method == http.MethodGet {
		r.gets++
	}
	n := r.gets
	r.mu.Unlock()
	c := &sentWriter{ResponseWriter: w, r: r}
	c.Header().Set("ETag", `"one"`)
	if !r.behave(r, n, c, q) {
		http.ServeContent(c, q, "", time.Time{}, bytes.NewReader(r.data))
	}
}

// wait hangs until the client or the test ends.
func (r *rogue) wait(q *http.Request, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-q.Context().Done():
	case <-r.end:
	}
	return false
}

// upTo sends the right answer, but for what comes after n bytes of its body.
func (r *rogue) upTo(n int64, w http.ResponseWriter, q *http.Request) {
	http.ServeContent(&cutWriter{ResponseWriter: w, left: n}, q, "", time.Time{}, bytes.NewReader(r.data))
}

// sentWriter counts. It hides ReaderFrom.
type sentWriter struct {
	http.ResponseWriter
	r *rogue
}

func (w *sentWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	w.r.sent += int64(n)
	return n, err
}

// cutWriter lets the head and the first bytes of a body out, and no more.
type cutWriter struct {
	http.ResponseWriter
	left int64
}

func (w *cutWriter) Write(p []byte) (int, error) {
	if int64(len(p)) <= w.left {
		w.left -= int64(len(p))
		return w.ResponseWriter.Write(p)
	}
	n, _ := w.ResponseWriter.Write(p[:w.left])
	w.left = 0
	_ = http.NewResponseController(flusher{w.ResponseWriter}).Flush()
	return n, io.ErrShortWrite
}

// flusher finds the Flush of a sentWriter.
type flusher struct{ http.ResponseWriter }

func (f flusher) Unwrap() http.ResponseWriter {
	if s, ok := f.ResponseWriter.(*sentWriter); ok {
		return s.ResponseWriter
	}
	return f.ResponseWriter
}

// outcome is what a client got.
type outcome struct {
	status int
	body   digest.Digest
	bytes  int
	first  time.Duration // to the first byte of a body
	took   time.Duration
	err    error // the body did not end as it should
}

// get asks a door as containerd does, and reads at most limit bytes, 0 = all.
func get(ctx context.Context, door, registry string, d digest.Digest, limit int64) (o outcome) {
	began := time.Now()
	defer func() { o.took = time.Since(began) }()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, door+"/v2/app/blobs/"+d.String()+"?ns="+registry, nil)
	if err != nil {
		return outcome{err: err}
	}
	resp, err := http.DefaultClient.Do(q)
	if err != nil {
		return outcome{err: err}
	}
	defer resp.Body.Close()
	o.status = resp.StatusCode
	var one [1]byte
	n, _ := io.ReadFull(resp.Body, one[:])
	o.first = time.Since(began)
	rest := io.Reader(resp.Body)
	if limit > 0 {
		rest = io.LimitReader(rest, limit-1)
	}
	body, err := io.ReadAll(rest)
	body = append(one[:n:n], body...)
	o.bytes, o.body, o.err = len(body), digest.FromBytes(body), err
	return o
}

// An origin that misbehaves: two clients of two nodes get the right bytes or a clear
// error, soon, and whoever gets right bytes does so at little more cost to the origin.
func TestOriginMisbehaves(t *testing.T) {
	const mib = 1 << 20
	type behaviour = func(*rogue, int, http.ResponseWriter, *http.Request) bool
	status := func(code, times int) behaviour {
		return func(_ *rogue, n int, w http.ResponseWriter, _ *http.Request) bool {
			if times > 0 && n > times {
				return false
			}
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(code)
			return true
		}
	}
	once := func(f func(*rogue, http.ResponseWriter, *http.Request)) behaviour {
		return func(r *rogue, n int, w http.ResponseWriter, q *http.Request) bool {
			if n == 1 && q.Method == http.MethodGet {
				f(r, w, q)
			}
			return n == 1 && q.Method == http.MethodGet
		}
	}
	always := func(f func(*rogue, http.ResponseWriter, *http.Request)) behaviour {
		return func(r *rogue, _ int, w http.ResponseWriter, q *http.Request) bool {
			if q.Method == http.MethodGet {
				f(r, w, q)
			}
			return q.Method == http.MethodGet
		}
	}
	cut := func(n int64) func(*rogue, http.ResponseWriter, *http.Request) {
		return func(r *rogue, w http.ResponseWriter, q *http.Request) {
			r.upTo(n, w, q)
			panic(http.ErrAbortHandler)
		}
	}
	hang := func(n int64) func(*rogue, http.ResponseWriter, *http.Request) {
		return func(r *rogue, w http.ResponseWriter, q *http.Request) {
			if n >= 0 {
				r.upTo(n, w, q)
			}
			r.wait(q, time.Hour)
		}
	}
	trickle := func(r *rogue, w http.ResponseWriter, q *http.Request) { // 1 KiB/s
		var from int
		_, _ = fmt.Sscanf(q.Header.Get("Range"), "bytes=%d-", &from)
		w.Header().Set("Content-Length", strconv.Itoa(len(r.data)-from))
		if from > 0 {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(r.data)-1, len(r.data)))
			w.WriteHeader(http.StatusPartialContent)
		}
		for ; from < len(r.data); from += 256 {
			if _, err := w.Write(r.data[from:min(from+256, len(r.data))]); err != nil {
				return
			}
			_ = http.NewResponseController(flusher{w}).Flush()
			if !r.wait(q, time.Second/4) {
				return
			}
		}
	}
	length := func(change int) func(*rogue, http.ResponseWriter, *http.Request) {
		return func(r *rogue, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(r.data)+change))
			_, _ = w.Write(r.data[:min(len(r.data), len(r.data)+change)])
		}
	}
	changes := func(r *rogue, n int, w http.ResponseWriter, q *http.Request) bool {
		if n <= 1 {
			return once(cut(mib))(r, n, w, q)
		}
		w.Header().Set("ETag", `"two"`)
		http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(bytes.Repeat([]byte("2"), len(r.data))))
		return true
	}
	type row struct {
		behave behaviour
		size   int   // 0 = 4 MiB
		status int   // 0 = the right bytes; -1 = any error, or a body that breaks off
		limit  int64 // bytes that the client reads
		copies float64
	}
	// Readers who starve may read a MiB of their own each: where that may happen the content is large.
	rows := map[string]row{
		"behaves":                   {behave: func(*rogue, int, http.ResponseWriter, *http.Request) bool { return false }, size: 16 * mib, copies: 1.2},
		"401":                       {behave: status(401, 0), status: 401},
		"403":                       {behave: status(403, 0), status: 403},
		"404":                       {behave: status(404, 0), status: 404},
		"416":                       {behave: status(416, 0), status: 416},
		"429":                       {behave: status(429, 0), status: 429},
		"500":                       {behave: status(500, 0), status: 500},
		"503":                       {behave: status(503, 0), status: 503},
		"429 once":                  {behave: status(429, 1), copies: 1.2},
		"500 once":                  {behave: status(500, 1), copies: 1.2},
		"503 twice":                 {behave: status(503, 2), copies: 1.2},
		"breaks off every MiB":      {behave: always(cut(mib)), copies: 1.2},
		"breaks off before a byte":  {behave: always(cut(0)), status: 503},
		"hangs before its head":     {behave: always(hang(-1)), status: 503},
		"hangs after its head":      {behave: always(hang(0)), status: 503},
		"hangs before, once":        {behave: once(hang(-1)), size: 16 * mib, copies: 1.2},
		"hangs after head, once":    {behave: once(hang(0)), size: 16 * mib, copies: 1.2},
		"hangs in the middle, once": {behave: once(hang(mib)), size: 16 * mib, copies: 1.2},
		"1 KiB/s, once":             {behave: once(trickle), size: 16 * mib, copies: 1.2},
		"1 KiB/s, 4 KiB":            {behave: always(trickle), size: 4 << 10, copies: 1.2},
		"1 KiB/s, 4 MiB":            {behave: always(trickle), limit: 512},
		"says too long a length":    {behave: always(length(1000)), status: -1},
		"says too short a length":   {behave: always(length(-1000)), status: -1},
		"changes in the middle":     {behave: changes, status: -1},
	}
	c := New(t)
	c.Registries = (&vault{}).source(t)
	c.Start(pki.Seed, "seed", Options{})
	doors := map[string]string{}
	for _, at := range []string{"a", "b"} {
		doors[at] = doorOf(t, c.Start(pki.Node, at, Options{Fetch: asConfigured}))
	}
	type result struct {
		origin *rogue
		data   []byte
		got    map[string]*outcome
	}
	results := map[string]result{}
	ask := func(of func(name string, r row) bool) {
		var wg sync.WaitGroup
		for name, tt := range rows {
			if !of(name, tt) {
				continue
			}
			if tt.size == 0 {
				tt.size = 4 * mib
			}
			data := randomBytes(byte(len(results)), tt.size)
			r, host := newRogue(t, data, tt.behave)
			results[name] = result{r, data, map[string]*outcome{}}
			for at, door := range doors {
				o := new(outcome)
				results[name].got[at] = o
				wg.Go(func() { *o = get(patience(t), door, host, digest.FromBytes(data), tt.limit) })
			}
		}
		wg.Wait()
	}
	// Many at once: one bad origin is no other's trouble. The large ones come alone: where
	// many bytes are verified at once readers starve (they do so after 2 s), and one of them
	// then reads the origin, too. The one that behaves tells how busy the machine is.
	large := func(_ string, r row) bool { return r.size > 4*mib }
	ask(func(name string, r row) bool { return !large(name, r) })
	for alone, tt := range rows {
		if large(alone, tt) {
			ask(func(name string, _ row) bool { return name == alone })
		}
	}
	busy := false
	for _, o := range results["behaves"].got {
		busy = busy || o.took > time.Second
	}
	for name, tt := range rows {
		t.Run(name, func(t *testing.T) {
			r := results[name]
			slow := busy
			for at, o := range r.got {
				slow = slow || o.first > 6*time.Second
				t.Logf("%s: %d after %.1f s, first byte after %.1f, %d bytes, %v", at, o.status, o.took.Seconds(), o.first.Seconds(), o.bytes, o.err)
				switch {
				case o.status == 503 && tt.status >= 0 && o.took > 9*time.Second: // a clear error
				case tt.limit > 0: // the network is given 8 s to find a better way
					if o.status != 200 || o.body != digest.FromBytes(r.data[:tt.limit]) {
						t.Error("wrong bytes")
					}
				case tt.status == 0:
					if o.status != 200 || o.err != nil || o.body != digest.FromBytes(r.data) {
						t.Error("not the right bytes")
					}
				case tt.status > 0:
					if o.status != tt.status {
						t.Errorf("want %d", tt.status)
					}
				case o.status == 200 && o.err == nil || o.status == 0:
					t.Error("an error was due")
				}
				if o.took > unbearable {
					t.Error("too late")
				}
			}
			r.origin.mu.Lock()
			defer r.origin.mu.Unlock()
			copies := float64(r.origin.sent) / float64(len(r.data))
			t.Logf("%d GETs, %.2f copies", r.origin.gets, copies)
			if tt.copies > 0 && copies > tt.copies && !slow {
				t.Errorf("want at most %.1f", tt.copies)
			}
		})
	}
}
