package fetcher

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// counts are what the fetcher counts.
type counts struct {
	checks  *prometheus.CounterVec
	blocked prometheus.Counter
}

// newCounts registers the counters at reg, unless it is nil.
func newCounts(reg prometheus.Registerer) (counts, error) {
	c := counts{checks: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "darter_access_checks_total",
		Help: "Questions whether a reader may have content: public, remembered, allowed or refused by the registry, failed (it did not answer), grace (it failed, and had let him in before), elsewhere (held, but read from another registry).",
	}, []string{"result"}), blocked: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "darter_blocked_total", Help: "Downloads that the manager's block lists refused or ended.",
	})}
	if reg == nil {
		return c, nil
	}
	for _, one := range []prometheus.Collector{c.checks, c.blocked} {
		if err := reg.Register(one); err != nil {
			return c, fmt.Errorf("fetcher: %w", err)
		}
	}
	return c, nil
}

func (c counts) block() { c.blocked.Inc() }

func (c counts) check(result string) { c.checks.WithLabelValues(result).Inc() }
