package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"

	"github.com/darter-p2p/darter/fetcher/upstream"
)

// Endpoint is one server that may be asked for a registry's content.
type Endpoint struct {
	// URL is the API root, such as https://registry-1.docker.io/v2.
	URL *url.URL
	// Transport carries the requests, also those to the endpoint's token server and
	// where it redirects to; nil = the Source's own.
	Transport http.RoundTripper
	// Header goes with every request to this host, and to no other.
	Header http.Header
	// Mirror says that this is not the registry itself: it gets no reader's
	// credential, and the registry's name as "ns" with each request.
	Mirror bool
	// Resolve says that it may be asked what a tag names.
	Resolve bool
}

// Hosts knows servers for registries from outside of this package's own
// configuration (containerd's certs.d).
type Hosts interface {
	// Endpoints returns the servers to try for host ("docker.io"), in this order;
	// none where it knows nothing of it. The registry itself is the last resort of
	// the caller where no endpoint is other than a Mirror. It may be called
	// concurrently and reads at most local files.
	Endpoints(host string) ([]Endpoint, error)
}

// site is a registry with a table of its own.
type site struct {
	root      *url.URL
	transport *http.Transport
	mirrors   []*url.URL
}

func newSite(c HostConfig, l Limits) (*site, error) {
	host, err := ParseHost(c.Host)
	if err != nil {
		return nil, err
	}
	s := &site{root: defaultRoot(host)}
	if c.URL != "" {
		if s.root, err = ParseRoot(c.URL); err != nil {
			return nil, fmt.Errorf("url: %w", err)
		}
	}
	if c.PlainHTTP {
		s.root.Scheme = "http"
	}
	for _, m := range c.Mirrors {
		u, err := ParseRoot(m)
		if err != nil {
			return nil, fmt.Errorf("mirrors: %w", err)
		}
		s.mirrors = append(s.mirrors, u)
	}
	tlsConfig, err := c.tls()
	if err != nil {
		return nil, err
	}
	proxy, err := c.proxy()
	if err != nil {
		return nil, err
	}
	s.transport = newTransport(l, tlsConfig, proxy)
	return s, nil
}

func (r HostConfig) tls() (*tls.Config, error) {
	conf := &tls.Config{InsecureSkipVerify: r.SkipVerify, MinVersion: tls.VersionTLS12}
	if r.CA != "" {
		pem, err := os.ReadFile(r.CA)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		if conf.RootCAs, err = x509.SystemCertPool(); err != nil {
			conf.RootCAs = x509.NewCertPool() // a machine without a system store
		}
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca: no certificate in %s", r.CA)
		}
	}
	if r.ClientCert != "" {
		pair, err := tls.LoadX509KeyPair(r.ClientCert, r.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("client_cert: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// proxyFunc chooses the proxy of a request, nil = none.
type proxyFunc func(*http.Request) (*url.URL, error)

func (r HostConfig) proxy() (proxyFunc, error) {
	switch r.Proxy {
	case "":
		return http.ProxyFromEnvironment, nil
	case "none":
		return nil, nil
	}
	u, err := url.Parse(r.Proxy)
	if err != nil {
		return nil, errors.New("proxy: not a URL") // the text may hold a password
	}
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
	default:
		return nil, fmt.Errorf("proxy: scheme %q, want http, https or socks5", clip(u.Scheme))
	}
	if u.Host == "" {
		return nil, errors.New("proxy: no host")
	}
	return http.ProxyURL(u), nil
}

// defaultRoot is where a registry is that nobody configured.
func defaultRoot(host string) *url.URL {
	server := host
	if host == dockerHub {
		server = dockerHubServer
	}
	return &url.URL{Scheme: schemeFor(server), Host: server, Path: "/v2"}
}

func schemeFor(host string) string {
	if upstream.IsLoopback(host) {
		return "http"
	}
	return "https"
}

// endpoints returns whom to ask for a registry's content, in this order. tag says
// that a tag is asked for, which not every mirror may answer.
func (s *Source) endpoints(host string, tag bool) ([]Endpoint, error) {
	all, err := s.configured(host)
	if err != nil {
		return nil, fmt.Errorf("settings of registry %s: %w", host, err)
	}
	var eps []Endpoint
	last := true // the registry itself is still missing
	for _, ep := range all {
		if tag && !ep.Resolve {
			continue
		}
		if ep.Transport == nil {
			ep.Transport = s.transport(ep.URL.Host)
		}
		last = last && ep.Mirror
		eps = append(eps, ep)
	}
	if last {
		root := defaultRoot(host)
		eps = append(eps, Endpoint{URL: root, Transport: s.transport(root.Host), Resolve: true})
	}
	return eps, nil
}

func (s *Source) configured(host string) ([]Endpoint, error) {
	own, ok := s.sites[host]
	if !ok {
		if s.hosts == nil {
			return nil, nil
		}
		return s.hosts.Endpoints(host)
	}
	var eps []Endpoint
	for _, u := range own.mirrors {
		eps = append(eps, Endpoint{URL: u, Mirror: true, Resolve: true})
	}
	return append(eps, Endpoint{URL: own.root, Transport: own.transport, Resolve: true}), nil
}

// transport returns what carries requests to a host: its own table's, or the common one.
func (s *Source) transport(host string) http.RoundTripper {
	if own, ok := s.siteOf(host); ok {
		return own.transport
	}
	return s.common
}

func (s *Source) siteOf(host string) (*site, bool) {
	name, err := ParseHost(host)
	if err != nil {
		return nil, false
	}
	own, ok := s.sites[name]
	return own, ok
}
