// Package metrics makes the registry of a process's Prometheus metrics and serves it.
package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// New returns a registry with the metrics of the Go run time and of the process, and
// darter_build_info{program, version} = 1.
func New(program, version string) *prometheus.Registry {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "darter_build_info",
		Help:        "Always 1; the labels say which program and version this is.",
		ConstLabels: prometheus.Labels{"program": program, "version": version},
	})
	info.Set(1)
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), info)
	return r
}

// Handler serves /metrics. A metric that fails is left out of the answer, and
// promhttp_metric_handler_errors_total counts it.
func Handler(r *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(r, promhttp.HandlerOpts{
		Registry:            r,
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 4,
	}))
	return mux
}
