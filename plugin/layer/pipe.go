package layer

import (
	"context"
	"io"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
)

// A pipe's buffers: their number and size bound what decompression may be ahead of the
// slower of its two readers.
const (
	chunks    = 8
	chunkSize = 128 << 10
)

// chunk is a buffer of the archive, read by the hash and by the applier.
type chunk struct {
	buf     []byte
	n       int
	readers atomic.Int32
}

// pipe decompresses in one goroutine (fill), hashes in another (sum), and is read as a
// stream by a third. No byte is copied for the hash.
type pipe struct {
	ctx   context.Context
	free  chan *chunk // empty buffers; as many places as buffers, so that giving back never blocks
	out   chan *chunk // to Read
	hash  chan *chunk // to sum
	err   error       // why fill ended; io.EOF at the end. Set before out and hash are closed
	bytes int64       // what fill brought, likewise

	cur  *chunk // what Read is in
	rest []byte // its unread part
}

func newPipe(ctx context.Context) *pipe {
	p := &pipe{
		ctx:  ctx,
		free: make(chan *chunk, chunks),
		out:  make(chan *chunk, chunks),
		hash: make(chan *chunk, chunks),
	}
	for range chunks {
		p.free <- new(chunk)
	}
	return p
}

// fill reads r to its end, or until the context ends.
func (p *pipe) fill(r io.Reader, sniff bool) {
	defer close(p.out)
	defer close(p.hash)
	src := &source{r: r}
	dec, release, err := decompress(src, sniff)
	defer release()
	for err == nil {
		var c *chunk
		select {
		case c = <-p.free:
		case <-p.ctx.Done():
			p.err = context.Cause(p.ctx)
			return
		}
		if c.buf == nil {
			c.buf = make([]byte, chunkSize)
		}
		c.n, err = readFull(dec, c.buf)
		if c.n == 0 {
			continue
		}
		p.bytes += int64(c.n)
		c.readers.Store(2)
		p.hash <- c
		p.out <- c
	}
	if err != io.EOF { //nolint:errorlint // the end of a stream is io.EOF itself
		err = src.explain(err)
	}
	p.err = err
}

// readFull fills b unless r ends first. Unlike io.ReadFull it keeps r's error.
func readFull(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var k int
		k, err = r.Read(b[n:])
		n += k
	}
	return n, err
}

// sum returns the digest of all that fill brings.
func (p *pipe) sum() digest.Digest {
	d := digest.Canonical.Digester()
	for c := range p.hash {
		d.Hash().Write(c.buf[:c.n])
		p.done(c)
	}
	return d.Digest()
}

// Read reads the archive. One goroutine calls it.
func (p *pipe) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		if p.cur != nil {
			p.done(p.cur)
			p.cur = nil
		}
		select {
		case c, ok := <-p.out:
			if !ok {
				return 0, p.err
			}
			p.cur, p.rest = c, c.buf[:c.n]
		case <-p.ctx.Done():
			return 0, context.Cause(p.ctx)
		}
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func (p *pipe) done(c *chunk) {
	if c.readers.Add(-1) == 0 {
		p.free <- c
	}
}
