package mirror

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/darter-p2p/darter/fetcher/registry"
	"github.com/darter-p2p/darter/internal/config"
)

// Config is how the mirror answers.
type Config struct {
	DefaultRegistry  string          `toml:"default_registry" doc:"Registry of requests that name none, as docker's do. Empty answers them by digest alone."`
	FirstByteTimeout config.Duration `toml:"first_byte_timeout" doc:"Longest wait for the first byte; then the client is sent on with 503. Keep it below containerd's 30s."`
	StallTimeout     config.Duration `toml:"stall_timeout" doc:"Longest wait for the next byte of a body; then its connection is cut, and the client resumes elsewhere."`
	ResumeBlock      config.Duration `toml:"resume_block" doc:"How long the resume of a body that broke is refused, so that the client takes its next host."`
	LazyTimeout      config.Duration `toml:"lazy_timeout" doc:"first_byte_timeout and stall_timeout at the ports of [[mirror.upstream]] and in the proxy, where they are longer. Keep it below the 5s that nydusd gives a request."`
}

// Default suits containerd and docker on this node.
func Default() Config {
	return Config{
		DefaultRegistry:  "docker.io",
		FirstByteTimeout: config.Duration(9 * time.Second), // a word within 10 s
		StallTimeout:     config.Duration(30 * time.Second),
		ResumeBlock:      config.Duration(time.Minute),
		LazyTimeout:      config.Duration(4 * time.Second),
	}
}

// Validate reports every setting that cannot work, by its key.
func (c Config) Validate() error {
	var errs []error
	if c.DefaultRegistry != "" {
		if _, err := registry.ParseHost(c.DefaultRegistry); err != nil {
			errs = append(errs, fmt.Errorf("default_registry: %w", err))
		}
	}
	for _, d := range []struct {
		key string
		d   config.Duration
	}{
		{"first_byte_timeout", c.FirstByteTimeout}, {"stall_timeout", c.StallTimeout}, {"resume_block", c.ResumeBlock}, {"lazy_timeout", c.LazyTimeout},
	} {
		if d.d <= 0 || d.d > config.Duration(10*time.Minute) {
			errs = append(errs, fmt.Errorf("%s: %v, want more than 0 and at most 10m", d.key, d.d))
		}
	}
	return errors.Join(errs...)
}

// Upstream is a registry that has a port of its own, for clients that cannot say which
// registry they mean.
type Upstream struct {
	Registry string `toml:"registry" doc:"host[:port] of the registry that the requests at this address mean."`
	Listen   string `toml:"listen" doc:"Address of the mirror of this registry, from 127.0.0.1:65010 on. Keep it on loopback."`
}

// Validate reports every setting that cannot work, by its key.
func (u Upstream) Validate() error {
	var errs []error
	if _, err := registry.ParseHost(u.Registry); err != nil {
		errs = append(errs, fmt.Errorf("registry: %w", err))
	}
	if _, _, err := net.SplitHostPort(u.Listen); err != nil {
		errs = append(errs, fmt.Errorf("listen: %w", err))
	}
	return errors.Join(errs...)
}
