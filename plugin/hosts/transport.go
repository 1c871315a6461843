package hosts

import (
	"net"
	"net/http"
	"time"
)

func newDialer(timeout time.Duration) *net.Dialer {
	return &net.Dialer{Timeout: timeout, KeepAlive: 30 * time.Second}
}

// atHost carries requests to one host by its own transport and all others by a plain
// one. containerd's transport for hosts of unsure scheme falls back from https to
// http; a token server or storage that a registry names elsewhere must not.
type atHost struct {
	host  string
	own   http.RoundTripper
	plain *http.Transport
}

func onlyAt(host string, own http.RoundTripper, plain *http.Transport) http.RoundTripper {
	if own == http.RoundTripper(plain) || plain == nil {
		return own
	}
	return atHost{host: host, own: own, plain: plain}
}

// RoundTrip implements http.RoundTripper.
func (a atHost) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host == a.host {
		return a.own.RoundTrip(r)
	}
	return a.plain.RoundTrip(r)
}
