package trouble

import (
	"errors"
	"net/http"
	"strconv"
	"time"
)

const mib = 1 << 20

// status refuses the first times GETs, 0 = all.
func status(code, times int) fault {
	return func(x *asked) bool {
		if times > 0 && x.n > times {
			return false
		}
		x.w.Header().Set("Retry-After", "1")
		x.w.WriteHeader(code)
		return true
	}
}

// once does something to the first GET only.
func once(f fault) fault {
	return func(x *asked) bool { return x.n == 1 && f(x) }
}

// cut breaks every answer off after so many bytes of its body.
func cut(after int64) fault {
	return func(x *asked) bool {
		p := &part{left: after}
		if x.serve(p); p.left == 0 {
			panic(http.ErrAbortHandler)
		}
		return true
	}
}

// hang sends so many bytes of a body, -1 = not even its head, and then nothing more.
func hang(after int64) fault {
	return func(x *asked) bool {
		if after >= 0 {
			x.serve(&part{left: after})
		}
		x.wait(time.Hour)
		panic(http.ErrAbortHandler)
	}
}

// trickle sends so many bytes a second.
func trickle(rate int) fault {
	return func(x *asked) bool {
		x.serve(&part{left: 1 << 40, rate: rate, wait: x.wait})
		return true
	}
}

// length says that the body is longer than it is, or shorter.
func length(by int64) fault {
	return func(x *asked) bool {
		x.serve(&part{left: 1 << 40, longer: by})
		return true
	}
}

// changes breaks the first answer off after a MiB; what comes later is another content
// with another validator.
func changes(x *asked) bool {
	if x.n == 1 {
		x.w.Header().Set("ETag", `"one"`)
		return cut(mib)(x)
	}
	x.serve(&part{left: 1 << 40, etag: `"two"`, other: true})
	return true
}

// serve gives the registry's answer, but for what p does to it.
func (x *asked) serve(p *part) {
	p.ResponseWriter = x.w
	defer func() {
		// The reverse proxy panics so when a body cannot be written to its end.
		if r := recover(); r != nil && r != http.ErrAbortHandler { //nolint:errorlint // it is compared as net/http does
			panic(r)
		}
	}()
	x.relay.proxy.ServeHTTP(p, x.r)
}

// wait waits, and reports whether nobody ended it.
func (x *asked) wait(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-x.r.Context().Done():
	case <-x.relay.end:
	}
	return false
}

// part lets a part of an answer through, or a changed one.
type part struct {
	http.ResponseWriter
	left   int64                    // bytes of the body
	longer int64                    // than the body: what the head says
	rate   int                      // bytes a second; 0 = as fast as they come
	wait   func(time.Duration) bool // between them
	etag   string                   // "" = that of the registry
	other  bool                     // other bytes
}

// WriteHeader implements http.ResponseWriter.
func (p *part) WriteHeader(code int) {
	h := p.Header()
	if n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64); err == nil && p.longer != 0 {
		h.Set("Content-Length", strconv.FormatInt(n+p.longer, 10))
	}
	if p.etag != "" {
		h.Set("ETag", p.etag)
	}
	p.ResponseWriter.WriteHeader(code)
}

var errEnough = errors.New("the relay lets no more through")

// Write implements io.Writer.
func (p *part) Write(b []byte) (int, error) {
	if p.other {
		b = append([]byte(nil), b...)
		for i := range b {
			b[i] ^= 1
		}
	}
	for written := 0; ; {
		step := b[written:]
		if p.rate > 0 {
			step = step[:min(len(step), max(1, p.rate/4))]
		}
		step = step[:min(int64(len(step)), p.left)]
		n, err := p.ResponseWriter.Write(step)
		written += n
		p.left -= int64(n)
		switch {
		case err != nil || written == len(b):
			return written, err
		case p.left == 0:
			_ = http.NewResponseController(p.ResponseWriter).Flush() // a client that has gone needs none
			return written, errEnough
		}
		_ = http.NewResponseController(p.ResponseWriter).Flush()
		if p.rate > 0 && !p.wait(time.Second/4) {
			return written, errEnough
		}
	}
}
