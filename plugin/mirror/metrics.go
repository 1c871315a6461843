package mirror

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/darter-p2p/darter/fetcher"
)

// metrics are what the door counts.
type metrics struct {
	requests     *prometheus.CounterVec
	bytes        *prometheus.CounterVec
	firstByte    *prometheus.HistogramVec
	brokenBodies prometheus.Counter
}

// newMetrics registers the metrics at reg, unless it is nil.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "darter_mirror_requests_total",
			Help: "Requests at the mirror door, by method, kind of content and status.",
		}, []string{"method", "kind", "status"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "darter_mirror_sent_bytes_total",
			Help: "Bytes of content sent by the mirror door, by where their first byte came from.",
		}, []string{"from"}),
		firstByte: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "darter_mirror_first_byte_seconds",
			Help:    "Time from a request at the mirror door to the headers of its answer.",
			Buckets: prometheus.ExponentialBuckets(0.001, 3, 10), // 1 ms … 20 s
		}, []string{"kind"}),
		brokenBodies: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "darter_mirror_broken_bodies_total",
			Help: "Bodies that the mirror door could not finish.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.bytes, m.firstByte, m.brokenBodies} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// count counts a request that is over. The labels hold nothing that a client chooses freely.
func (m *metrics) count(r *request, w *response) {
	kind := "other"
	switch {
	case r.route.base:
		kind = "base"
	case r.route.kind == fetcher.Blob:
		kind = "blob"
	case r.route.kind == fetcher.Manifest:
		kind = "manifest"
	}
	method := "other"
	if r.Method == "GET" || r.Method == "HEAD" {
		method = r.Method
	}
	m.requests.WithLabelValues(method, kind, strconv.Itoa(w.status)).Inc()
	if w.from != "" {
		m.bytes.WithLabelValues(w.from).Add(float64(w.written))
	}
	if !w.first.IsZero() {
		m.firstByte.WithLabelValues(kind).Observe(w.first.Sub(r.started).Seconds())
	}
}
