package serial

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/p2p"
)

const (
	// firstSegment and maxSegment are the lengths of segments, in bytes: each is twice as
	// long as the one before, so that the first comes soon and a long content is few tasks.
	firstSegment = 1 << 20
	maxSegment   = 4 << 20
	// segmentsAhead is how many segments are read before somebody asks for them.
	segmentsAhead = 2
	// cutAfter is how old the first byte of a segment may grow while somebody waits for
	// it: then it ends where it is.
	cutAfter = 250 * time.Millisecond
	// maxReadings bounds the readings under way, and with them the memory: each holds at
	// most four segments.
	maxReadings = 8
	// abandonAfter is how long a reading waits for somebody to ask for the next segment.
	abandonAfter = 30 * time.Second
	// rememberFor is for how long the end of a reading is remembered, so that those who
	// come a moment later hear the same, and failureFor its failure.
	rememberFor = time.Minute
	failureFor  = 5 * time.Second
)

// Source is a source.Source that gives the segments of contents that Under reads, and
// everything else as Under does. Make one with New.
type Source struct {
	under source.Source
	seed  bool
	life  context.Context
	end   context.CancelFunc
	wg    sync.WaitGroup

	mu     sync.Mutex
	closed bool
	active int
	first  map[p2p.Origin]*reading // by the origin of the first segment
	byName map[Reading]*reading
}

var _ source.Source = (*Source)(nil)

// New returns a Source. Only a seed reads contents in segments: with several hosts that
// might, nobody would know which of them holds a reading.
func New(under source.Source, seed bool) *Source {
	s := &Source{under: under, seed: seed, first: map[p2p.Origin]*reading{}, byName: map[Reading]*reading{}}
	s.life, s.end = context.WithCancel(context.Background())
	return s
}

// Close ends every reading and waits for them.
func (s *Source) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	s.wg.Wait()
}

// Open implements source.Source. That this host does not have the reading of a segment is
// ErrPermissionDenied: another host may.
func (s *Source) Open(ctx context.Context, r source.Request) (*source.Response, error) {
	if !IsSegment(r.Origin) {
		return s.under.Open(ctx, r)
	}
	data, err := s.segment(ctx, r)
	if err != nil {
		return nil, err
	}
	size := int64(len(data))
	if r.Offset < 0 || r.Offset > size || r.Length < -1 {
		return nil, fmt.Errorf("%s: range %d+%d of a segment of %d bytes: %w", r.Origin, r.Offset, r.Length, size, errdefs.ErrOutOfRange)
	}
	data = data[r.Offset:]
	if r.Length >= 0 {
		data = data[:min(r.Length, int64(len(data)))]
	}
	return &source.Response{
		Body: io.NopCloser(bytes.NewReader(data)), Size: size, Offset: r.Offset, Length: int64(len(data)), Ranges: true,
	}, nil
}

// Stat implements source.Source.
func (s *Source) Stat(ctx context.Context, r source.Request) (*source.Response, error) {
	if !IsSegment(r.Origin) {
		return s.under.Stat(ctx, r)
	}
	data, err := s.segment(ctx, r)
	return &source.Response{Size: int64(len(data))}, err
}

// segment returns a segment, head and all, when it is there.
func (s *Source) segment(ctx context.Context, r source.Request) ([]byte, error) {
	base, n, err := parse(r.Origin)
	if err != nil {
		return nil, err
	}
	rd, err := s.reading(r.Origin, base, n)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.Origin, err)
	}
	return rd.segment(ctx, n.index)
}

// errElsewhere is of the class that has the scheduler ask another host at once.
var errElsewhere = fmt.Errorf("no such reading is under way here: %w", errdefs.ErrPermissionDenied)

// reading returns the reading that a segment is of; the first segment begins one.
func (s *Source) reading(o, base p2p.Origin, n name) (*reading, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n.index > 0 {
		if rd := s.byName[n.reading]; rd != nil && rd.base == base {
			return rd, nil
		}
		return nil, errElsewhere
	}
	if rd := s.first[o]; rd != nil && rd.begins() {
		return rd, nil
	}
	switch {
	case !s.seed:
		return nil, fmt.Errorf("only a seed reads it for others: %w", errdefs.ErrPermissionDenied)
	case s.closed || s.active >= maxReadings:
		return nil, fmt.Errorf("this host reads %d contents in order: %w", s.active, errdefs.ErrPermissionDenied)
	}
	rd := newReading(base)
	_, _ = rand.Read(rd.name[:]) // never fails
	s.first[o], s.byName[rd.name] = rd, rd
	s.active++
	s.wg.Go(func() {
		rd.run(s.life, s.under)
		s.mu.Lock()
		s.active--
		s.mu.Unlock()
		forget := time.NewTimer(rememberFor)
		defer forget.Stop()
		select {
		case <-forget.C:
		case <-s.life.Done():
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.byName, rd.name)
		if s.first[o] == rd {
			delete(s.first, o)
		}
	})
	return rd, nil
}
