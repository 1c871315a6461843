package program

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"

	"github.com/containerd/log"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/darter-p2p/darter/internal/health"
	"github.com/darter-p2p/darter/internal/metrics"
	"github.com/darter-p2p/darter/internal/notify"
	"github.com/darter-p2p/darter/internal/process"
	"github.com/darter-p2p/darter/internal/serve"
)

// Service is a daemon while it runs: its parts, its health, and what the service manager
// (systemd) is told. Add the parts, then call Run once.
type Service struct {
	process.Group

	Health  health.Health
	manager *notify.Notifier
}

// NewService returns one without parts. ctx is for its log lines.
func NewService(ctx context.Context) *Service {
	s := &Service{manager: notify.FromEnvironment(os.Getenv)}
	s.Stopping = func() {
		s.Health.Stopping()
		report(ctx, s.manager.Stopping())
	}
	return s
}

// AddHTTP adds an HTTP server, which listens at once; nothing for an empty address.
func (s *Service) AddHTTP(name, addr string, h http.Handler) error {
	if addr == "" {
		return nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	s.Add(name, func(ctx context.Context) error { return serve.HTTP(ctx, l, h, 0) })
	return nil
}

// AddMetrics adds a server of health and, at /metrics, of what was registered.
func (s *Service) AddMetrics(addr string, registry *prometheus.Registry) error {
	mux := http.NewServeMux()
	mux.Handle("/", &s.Health)
	mux.Handle("/metrics", metrics.Handler(registry))
	return s.AddHTTP("metrics", addr, mux)
}

// Run says that the daemon is ready, and runs it until ctx ends. Where the service manager
// asks for signs of life, alive is called before each; it hangs or fails where the daemon does.
func (s *Service) Run(ctx context.Context, alive func(context.Context) error) error {
	s.Add("watchdog", func(ctx context.Context) error { return s.manager.Watch(ctx, alive) })
	s.Health.Ready()
	report(ctx, s.manager.Ready())
	return s.Group.Run(ctx)
}

// report logs what the service manager could not be told; it is no reason to stop.
func report(ctx context.Context, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		log.G(ctx).WithError(err).Warning("Cannot tell the service manager")
	}
}
