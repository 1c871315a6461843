package jobs

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Counts counts the jobs that clients ask for, under the names of Dragonfly's manager:
// dashboards that were made for it go on.
type Counts struct {
	asked, made *prometheus.CounterVec
}

// NewCounts registers the counters.
func NewCounts(r prometheus.Registerer) (*Counts, error) {
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "dragonfly", Subsystem: "manager", Name: name, Help: help}, []string{"name"})
	}
	c := &Counts{
		asked: counter("create_job_total", "Jobs that clients tried to make, by kind."),
		made:  counter("create_job_success_total", "Jobs that clients made, by kind."),
	}
	for _, v := range []*prometheus.CounterVec{c.asked, c.made} {
		if err := r.Register(v); err != nil {
			return nil, fmt.Errorf("job metrics: %w", err)
		}
	}
	return c, nil
}

// Made counts a try to make a job.
func (c *Counts) Made(kind string, err error) {
	c.asked.WithLabelValues(kind).Inc()
	if err == nil {
		c.made.WithLabelValues(kind).Inc()
	}
}
