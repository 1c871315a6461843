package snapshot

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts what the door does; nil counts nothing.
type metrics struct {
	layers  *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	bytes   prometheus.Counter
	stored  prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	if r == nil {
		return nil, nil //nolint:nilnil // nil counts nothing
	}
	m := &metrics{
		layers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "darter_snapshot_layers_total",
			Help: "Layers that containerd asked the snapshot door for, by outcome: served, shared (here already), or why containerd fetches it.",
		}, []string{"outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "darter_snapshot_prepare_seconds", Help: "How long containerd waited for a layer, by outcome.",
			Buckets: []float64{.01, .05, .1, .5, 1, 2, 5, 10, 20, 30, 60, 120},
		}, []string{"outcome"}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "darter_snapshot_layer_bytes_total", Help: "Compressed bytes of the layers that were served.",
		}),
		stored: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "darter_snapshot_disk_bytes_total", Help: "Space that the layers which were served took on disk.",
		}),
	}
	for _, c := range []prometheus.Collector{m.layers, m.seconds, m.bytes, m.stored} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) prepared(outcome string, took time.Duration) {
	if m == nil {
		return
	}
	m.layers.WithLabelValues(outcome).Inc()
	m.seconds.WithLabelValues(outcome).Observe(took.Seconds())
}

func (m *metrics) served(s *staged) {
	if m == nil {
		return
	}
	m.bytes.Add(float64(s.compressed))
	m.stored.Add(float64(s.usage.Size))
}
