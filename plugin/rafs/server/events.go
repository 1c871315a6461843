package server

import (
	"time"

	"github.com/containerd/log"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/darter-p2p/darter/plugin/rafs"
	"github.com/darter-p2p/darter/plugin/rafs/device"
)

// counts are the server's metrics.
type counts struct {
	fetched *prometheus.CounterVec
	waited  prometheus.Histogram
	trouble *prometheus.CounterVec
}

// newCounts registers the metrics of s; r may be nil.
func newCounts(r prometheus.Registerer, s *Server) (*counts, error) {
	c := &counts{
		fetched: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "darter_rafs_fetched_bytes_total", Help: "Compressed bytes of chunks by who wanted them: urgent, window or background.",
		}, []string{"need"}),
		waited: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "darter_rafs_wait_seconds", Help: "How long readers waited for chunks that were not here.",
			Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30},
		}),
		trouble: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "darter_rafs_trouble_total", Help: "What went wrong: retried (a chunk was asked for again), failed (a reader got an error), sync (chunks are not sure against a power cut), full (the disk has no room, and chunks are read past it).",
		}, []string{"what"}),
	}
	if r == nil {
		return c, nil
	}
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
	}
	for _, m := range []prometheus.Collector{
		c.fetched, c.waited, c.trouble,
		gauge("darter_rafs_mounts", "Live mounts.", func() float64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			return float64(len(s.mounts))
		}),
		gauge("darter_rafs_cache_bytes", "Space that the blobs may take, uncompressed.", func() float64 {
			used, _ := s.shelf.usage()
			return float64(used)
		}),
	} {
		if err := r.Register(m); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// events counts and logs what a device of a mount tells.
func (s *Server) events(m *mounted, b *rafs.Blob) device.Events {
	entry := s.log.WithFields(log.Fields{"image": m.Image, "blob": b.Digest()})
	image, index := m.image, b.Index
	return device.Events{
		Fetched: func(n device.Need, bytes int64) { s.counts.fetched.WithLabelValues(n.String()).Add(float64(bytes)) },
		Waited:  func(d time.Duration) { s.counts.waited.Observe(d.Seconds()) },
		Retried: func(c device.Chunk, err error) {
			s.counts.trouble.WithLabelValues("retried").Inc()
			entry.WithField("at", c.BlobOffset).WithError(err).Info("a chunk is asked for again")
		},
		Failed: func(i int, _ device.Chunk, err error) {
			s.counts.trouble.WithLabelValues("failed").Inc()
			s.explainFailure(entry, image, rafs.ChunkRef{Blob: index, Chunk: i}, err)
		},
		Completed: func() {
			entry.Info("blob is complete: it needs nobody any more")
		},
		SyncFailed: func(err error) {
			s.counts.trouble.WithLabelValues("sync").Inc()
			entry.WithError(err).Error("chunks cannot be kept over a power cut")
		},
		Full: func(err error) {
			s.counts.trouble.WithLabelValues("full").Inc()
			entry.WithError(err).Warn("the disk is full: readers get chunks that are not kept")
		},
	}
}

// explainFailure logs a chunk that a reader did not get, with the file that has it. To
// find the file takes a walk through the image: one at a time, others are logged without.
func (s *Server) explainFailure(entry *log.Entry, image *rafs.Image, c rafs.ChunkRef, err error) {
	entry = entry.WithField("chunk", c.Chunk).WithError(err)
	const text = "a chunk cannot be had: its reader gets an input/output error"
	if !s.explain.TryLock() {
		entry.Error(text)
		return
	}
	s.work.Add(1)
	go func() {
		defer s.work.Done()
		defer s.explain.Unlock()
		if path, off, err := image.FileOf(c); err == nil {
			entry = entry.WithFields(log.Fields{"file": path, "offset": off})
		}
		entry.Error(text)
	}()
}
