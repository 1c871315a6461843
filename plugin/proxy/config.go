package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
)

// Config is the proxy door.
type Config struct {
	Enable        bool     `toml:"enable" doc:"Be an HTTP proxy at mirror.listen, too."`
	Rules         []string `toml:"rules" doc:"Regular expressions (RE2) of the URLs, without their query, that are answered from the piece network. Blobs and manifests of registries are read as darterd reads that registry (https, its [[registry]] table), though the URL says http; other URLs as darter get does."`
	UseTLS        []string `toml:"use_tls" doc:"Regular expressions of http URLs, not in rules, that are read by https."`
	Clients       []string `toml:"clients" doc:"Addresses and networks that may use the proxy. Those that are not loopback reach no server on this host or its link, and upstream.allow counts for them."`
	PrefetchSlots int      `toml:"prefetch_slots" doc:"Requests that their client marks as prefetch (X-Dragonfly-Priority up to 3) which are answered at a time, 1 to 1024. Others wait, then get 429."`
	Tunnels       int      `toml:"tunnels" doc:"CONNECT tunnels open at a time, 0 to 65536. 0 refuses them."`
}

// Default suits a nydusd or docker on this node.
func Default() Config {
	return Config{
		Enable: true, Rules: []string{`/v2/.*/blobs/`}, UseTLS: []string{},
		Clients: []string{"127.0.0.0/8", "::1/128"}, PrefetchSlots: 8, Tunnels: 1024,
	}
}

// Validate reports every setting that cannot work, by its key.
func (c Config) Validate() error {
	_, errR := compile("rules", c.Rules)
	_, errT := compile("use_tls", c.UseTLS)
	_, errC := networks(c.Clients)
	errs := []error{errR, errT, errC}
	if c.PrefetchSlots < 1 || c.PrefetchSlots > 1024 {
		errs = append(errs, fmt.Errorf("prefetch_slots: %d, want 1 to 1024", c.PrefetchSlots))
	}
	if c.Tunnels < 0 || c.Tunnels > 65536 {
		errs = append(errs, fmt.Errorf("tunnels: %d, want 0 to 65536", c.Tunnels))
	}
	return errors.Join(errs...)
}

func compile(key string, all []string) ([]*regexp.Regexp, error) {
	var rules []*regexp.Regexp
	var errs []error
	for _, s := range all {
		r, err := regexp.Compile(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", key, err))
		}
		rules = append(rules, r)
	}
	return rules, errors.Join(errs...)
}

func networks(all []string) ([]netip.Prefix, error) {
	var nets []netip.Prefix
	var errs []error
	for _, s := range all {
		if ip, err := netip.ParseAddr(s); err == nil {
			nets = append(nets, netip.PrefixFrom(ip, ip.BitLen()))
			continue
		}
		n, err := netip.ParsePrefix(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("clients: %q: want an address or a network", s))
		}
		nets = append(nets, n.Masked())
	}
	return nets, errors.Join(errs...)
}
