package mirror

import (
	"errors"
	"net/http"
	"strings"

	"github.com/darter-p2p/darter/fetcher/registry"
	"github.com/darter-p2p/darter/fetcher/source"
)

// Only returns the door for clients that ask one registry and say so by where they ask:
// at a port of its own, or by the URL that a proxy is given. What their headers and
// queries name does not count. Such clients are lazy loaders that give a request few
// seconds, so that Config.LazyTimeout bounds every wait, and a container is blocked on
// what they ask for, unless they say that it is prefetch. It shares all else with h.
// The error is of class ErrInvalidArgument.
func (h *Handler) Only(host string) (*Handler, error) {
	name, err := registry.ParseHost(host)
	if err != nil {
		return nil, err
	}
	one := *h
	one.registry, one.only = name, true
	one.config.FirstByteTimeout = min(h.config.FirstByteTimeout, h.config.LazyTimeout)
	one.config.StallTimeout = min(h.config.StallTimeout, h.config.LazyTimeout)
	return &one, nil
}

// IsPull reports whether a path is one that the door answers: of a blob, of a manifest,
// or the API's base.
func IsPull(path string) bool {
	_, err := parseRoute(path)
	return err == nil
}

// IsPrefetch reports whether nobody waits for what a request asks for. nydusd says 6 for
// what a reader is blocked on and 3 for the rest. X-Dragonfly-Prefetch does not tell:
// nydusd sets it on every request, and to fill whole blobs at once on its word would
// keep the link from those who wait.
func IsPrefetch(h http.Header) bool {
	switch strings.TrimSpace(h.Get("X-Dragonfly-Priority")) {
	case "0", "1", "2", "3":
		return true
	}
	return false
}

// errorTypeHeader tells Dragonfly's clients, nydusd among them, whose an error is:
// nydusd repeats what is the proxy's at the origin, and believes what is the origin's.
const errorTypeHeader = "X-Dragonfly-Error-Type"

// errorType is the header's value for what the fetcher said.
func errorType(err error) string {
	var said *source.Error
	if errors.As(err, &said) && said.Status >= 400 && said.Status != http.StatusLoopDetected {
		return "backend"
	}
	return "proxy"
}
