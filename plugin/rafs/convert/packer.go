package convert

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// job is a chunk on its way into the blob, with its buffers.
type job struct {
	raw  []byte // as long as a chunk can be
	n    int    // bytes of raw that are the chunk
	out  []byte // compressed
	done chan struct{}
}

// packed is what became of a chunk.
type packed struct {
	at   uint64
	size uint32
}

// packer compresses chunks on several goroutines and writes them in the order in which
// they came. Memory is bounded by the number of jobs.
type packer struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	free   chan *job // as many places as jobs, so that giving back never blocks
	work   chan *job // likewise
	order  chan *job
	wg     sync.WaitGroup

	out    io.Writer
	sum    hash.Hash // of all that was written
	size   uint64
	placed []packed
}

// newPacker starts to write a blob to out. The encoder may be used by others, too.
func newPacker(ctx context.Context, out io.Writer, enc *zstd.Encoder, workers, chunkSize int) *packer {
	jobs := 2*workers + 2
	p := &packer{
		free: make(chan *job, jobs), work: make(chan *job, jobs), order: make(chan *job, jobs),
		out: out, sum: sha256.New(),
	}
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	for range jobs {
		p.free <- &job{raw: make([]byte, chunkSize), done: make(chan struct{}, 1)}
	}
	for range workers {
		p.wg.Go(func() {
			for j := range p.work {
				j.out = enc.EncodeAll(j.raw[:j.n], j.out[:0])
				j.done <- struct{}{}
			}
		})
	}
	p.wg.Go(p.drain)
	return p
}

// drain writes what is compressed.
func (p *packer) drain() {
	failed := false
	for j := range p.order {
		<-j.done
		if !failed {
			b := j.out
			if len(b) >= j.n { // plain, which its length says
				b = j.raw[:j.n]
			}
			at, err := p.write(b)
			if err != nil {
				failed = true
				p.cancel(err)
			}
			p.placed = append(p.placed, packed{at, uint32(len(b))})
		}
		p.free <- j
	}
}

// write appends to the blob and returns where.
func (p *packer) write(b []byte) (uint64, error) {
	at := p.size
	if _, err := p.out.Write(b); err != nil {
		return 0, outputError(err)
	}
	p.sum.Write(b)
	p.size += uint64(len(b))
	return at, nil
}

// job waits for a free one.
func (p *packer) job() (*job, error) {
	select {
	case j := <-p.free:
		return j, nil
	case <-p.ctx.Done():
		return nil, context.Cause(p.ctx)
	}
}

// giveBack returns a job that came to nothing.
func (p *packer) giveBack(j *job) { p.free <- j }

// put stores the first n bytes of the job.
func (p *packer) put(j *job, n int) error {
	if p.ctx.Err() != nil {
		p.giveBack(j)
		return context.Cause(p.ctx)
	}
	j.n = n
	p.work <- j
	p.order <- j
	return nil
}

// finish waits until all is written and returns where. Nothing runs afterwards.
func (p *packer) finish() ([]packed, error) {
	close(p.work)
	close(p.order)
	p.wg.Wait()
	if p.ctx.Err() != nil {
		return nil, fmt.Errorf("blob: %w", context.Cause(p.ctx))
	}
	return p.placed, nil
}
