package registry

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/darter-p2p/darter/internal/config"
)

// Config is how registries are reached.
type Config struct {
	Registries []HostConfig `toml:"registry" doc:"Settings of one registry each. A registry without a table takes those of certs.d/hosts.toml, and without these https, or plain http on loopback."`
	Origin     Limits       `toml:"origin" doc:"Bounds of every read of an origin."`
}

// HostConfig is how one registry is reached.
type HostConfig struct {
	Host       string   `toml:"host" doc:"The registry's host[:port] as clients name it, such as docker.io or registry.example:5000."`
	URL        string   `toml:"url" doc:"Where it is, if not at https://<host>. A path is kept; /v2 is put behind it unless it holds /v2 already."`
	CA         string   `toml:"ca" doc:"PEM file of certificate authorities to trust beside the system's."`
	ClientCert string   `toml:"client_cert" doc:"PEM file of the client certificate to show."`
	ClientKey  string   `toml:"client_key" doc:"PEM file of the client certificate's key."`
	SkipVerify bool     `toml:"skip_verify" doc:"Accept any server certificate. Digests still protect blobs, nothing protects tags and credentials."`
	PlainHTTP  bool     `toml:"plain_http" doc:"Speak http. Loopback registries are plain http without it; write url = \"https://…\" for one that is not."`
	Proxy      string   `toml:"proxy" doc:"Outbound proxy, http://, https:// or socks5://. Empty takes the environment's HTTPS_PROXY, \"none\" goes directly."`
	Mirrors    []string `toml:"mirrors" doc:"URLs of servers tried in this order before the registry. They get no reader's credentials. One that fails or lacks a content is passed over."`
}

// Limits bound a read of an origin.
type Limits struct {
	DialTimeout   config.Duration `toml:"dial_timeout" doc:"Longest wait for a connection."`
	TLSTimeout    config.Duration `toml:"tls_timeout" doc:"Longest TLS handshake."`
	HeaderTimeout config.Duration `toml:"header_timeout" doc:"Longest wait for the headers of an answer."`
	IdleTimeout   config.Duration `toml:"idle_timeout" doc:"Longest wait for the next bytes of a body."`
	MaxSkip       config.Bytes    `toml:"max_skip" doc:"Most bytes read and thrown away to reach an offset at an origin that ignores ranges."`
}

// Default returns the settings that suit most: no tables, time-outs of seconds.
func Default() Config {
	return Config{Origin: Limits{
		DialTimeout:   config.Duration(5 * time.Second),
		TLSTimeout:    config.Duration(10 * time.Second),
		HeaderTimeout: config.Duration(10 * time.Second),
		IdleTimeout:   config.Duration(30 * time.Second),
		MaxSkip:       256 << 20,
	}}
}

// Validate reports every setting that cannot work, by its key.
func (c Config) Validate() error {
	errs := []error{c.Origin.Validate()}
	seen := map[string]bool{}
	for i, r := range c.Registries {
		if err := r.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("registry %d (%s): %w", i+1, clip(r.Host), err))
			continue
		}
		host, _ := ParseHost(r.Host)
		if seen[host] {
			errs = append(errs, fmt.Errorf("registry %d: host %s has two tables", i+1, host))
		}
		seen[host] = true
	}
	return errors.Join(errs...)
}

// Validate reports every bound that cannot work, by its key.
func (l Limits) Validate() error {
	var errs []error
	for _, d := range []struct {
		key string
		d   config.Duration
	}{
		{"dial_timeout", l.DialTimeout}, {"tls_timeout", l.TLSTimeout},
		{"header_timeout", l.HeaderTimeout}, {"idle_timeout", l.IdleTimeout},
	} {
		if d.d <= 0 || d.d > config.Duration(10*time.Minute) {
			errs = append(errs, fmt.Errorf("origin.%s: %v, want more than 0 and at most 10m", d.key, d.d))
		}
	}
	if l.MaxSkip < 0 {
		errs = append(errs, fmt.Errorf("origin.max_skip: %d, want 0 or more", l.MaxSkip))
	}
	return errors.Join(errs...)
}

// Validate reports every setting that cannot work, by its key. It reads no file.
func (r HostConfig) Validate() error {
	var errs []error
	if _, err := ParseHost(r.Host); err != nil {
		errs = append(errs, fmt.Errorf("host: %w", err))
	}
	if r.URL != "" {
		u, err := ParseRoot(r.URL)
		if err != nil {
			errs = append(errs, fmt.Errorf("url: %w", err))
		} else if r.PlainHTTP && u.Scheme == "https" {
			errs = append(errs, errors.New("plain_http: the url is https"))
		}
	}
	if (r.ClientCert == "") != (r.ClientKey == "") {
		errs = append(errs, errors.New("client_cert and client_key go together"))
	}
	if _, err := r.proxy(); err != nil {
		errs = append(errs, err)
	}
	for _, m := range r.Mirrors {
		if _, err := ParseRoot(m); err != nil {
			errs = append(errs, fmt.Errorf("mirrors: %w", err))
		}
	}
	return errors.Join(errs...)
}

// ParseRoot reads the URL of a registry server and returns its API root. Without a
// scheme it is https, or http on loopback; "/v2" is put behind the path unless the
// path holds it already.
func ParseRoot(s string) (*url.URL, error) {
	if !strings.Contains(s, "://") {
		host, _, _ := strings.Cut(s, "/")
		s = schemeFor(host) + "://" + s
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("bad URL: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q: scheme is neither http nor https", clip(s))
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("URL of %s: credentials, query and fragment are not for here", clip(u.Host))
	}
	if err := checkHost(strings.ToLower(u.Host)); err != nil {
		return nil, fmt.Errorf("%q: %w", clip(s), err)
	}
	path := strings.TrimSuffix(u.Path, "/")
	if !strings.HasSuffix(path, "/v2") && !strings.Contains(path, "/v2/") {
		path += "/v2"
	}
	return &url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host), Path: path}, nil
}
