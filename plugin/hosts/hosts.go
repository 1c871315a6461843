// Package hosts reads containerd's registry settings: the hosts.toml files and
// certificates below a certs.d directory, as containerd itself reads them. Entries
// that lead back to this node's own mirror are left out, so that darter asks the
// servers that containerd would ask if darter were not there.
package hosts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/fetcher/registry"
)

// Config says where the settings are.
type Config struct {
	Dir string `toml:"config_path" doc:"containerd's certs.d directory, whose hosts.toml files say how registries are reached. Empty reads none. A [[registry]] table wins over it."`
}

// Default is containerd's usual directory.
func Default() Config { return Config{Dir: "/etc/containerd/certs.d"} }

// Validate reports a directory that is not an absolute path. The directory need not exist.
func (c Config) Validate() error {
	if c.Dir != "" && !filepath.IsAbs(c.Dir) {
		return fmt.Errorf("config_path: %q is not an absolute path", c.Dir)
	}
	return nil
}

// maxHosts bounds the settings kept in memory: strangers choose the names asked for.
const maxHosts = 256

// Options are what a Dir is given beside its configuration.
type Options struct {
	// Self is the listen addresses (host:port) of this node's own mirror doors.
	Self []string
	// Limits are the time-outs of connections. A dial_timeout in hosts.toml wins.
	Limits registry.Limits
}

// Dir is the registry.Hosts of a certs.d directory. It reads a host's files again
// when one of them changed. Make one with New.
type Dir struct {
	root   string
	self   self
	limits registry.Limits

	mu    sync.Mutex
	hosts map[string]entry
}

var _ registry.Hosts = (*Dir)(nil)

// entry is what a host's files said when they had this stamp.
type entry struct {
	stamp      string
	endpoints  []registry.Endpoint
	transports []*http.Transport
}

func (e entry) close() {
	for _, tr := range e.transports {
		tr.CloseIdleConnections()
	}
}

// New returns the settings of a directory.
func New(c Config, o Options) (*Dir, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	own, err := newSelf(o.Self)
	if err != nil {
		return nil, err
	}
	return &Dir{root: c.Dir, self: own, limits: o.Limits, hosts: map[string]entry{}}, nil
}

// Close closes idle connections.
func (d *Dir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.hosts {
		e.close()
	}
	clear(d.hosts)
	return nil
}

// Endpoints implements registry.Hosts. host is as registry.ParseHost returns it.
func (d *Dir) Endpoints(host string) ([]registry.Endpoint, error) {
	if d.root == "" {
		return nil, nil
	}
	if _, err := registry.ParseHost(host); err != nil {
		return nil, err // else ".." could leave the directory
	}
	dir, err := config.HostDirFromRoot(d.root)(host)
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("settings of %s: %w", host, err)
	}
	stamp, err := stampOf(dir)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", dir, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	old, ok := d.hosts[host]
	if ok && old.stamp == stamp {
		return old.endpoints, nil
	}
	fresh, err := d.load(host, dir)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", dir, err)
	}
	fresh.stamp = stamp
	if !ok && len(d.hosts) >= maxHosts {
		for k, e := range d.hosts { // any one will do
			e.close()
			delete(d.hosts, k)
			break
		}
	}
	old.close()
	d.hosts[host] = fresh
	return fresh.endpoints, nil
}

// load has containerd read a host's directory, and takes over what it made of it.
func (d *Dir) load(host, dir string) (entry, error) {
	clients := map[*http.Client]*http.Transport{}
	configure := config.ConfigureHosts(context.Background(), config.HostOptions{
		HostDir: func(string) (string, error) { return dir, nil },
		UpdateClient: func(c *http.Client) error {
			tr, ok := c.Transport.(*http.Transport)
			if !ok {
				return fmt.Errorf("containerd's client has a transport of type %T", c.Transport)
			}
			// The first call is for the client from which the others are cloned:
			// only it gets our dialer, so that a dial_timeout stays what it is.
			d.tune(tr, len(clients) == 0)
			clients[c] = tr
			return nil
		},
	})
	all, err := configure(host)
	if err != nil {
		return entry{}, err
	}
	var e entry
	for _, tr := range clients {
		e.transports = append(e.transports, tr)
	}
	for i, h := range all {
		u := &url.URL{Scheme: h.Scheme, Host: strings.ToLower(h.Host), Path: h.Path}
		if !h.Capabilities.Has(docker.HostCapabilityPull) || d.self.is(u) {
			continue
		}
		e.endpoints = append(e.endpoints, registry.Endpoint{
			URL:       u,
			Transport: onlyAt(u.Host, h.Client.Transport, clients[h.Client]),
			Header:    h.Header,
			Mirror:    i < len(all)-1, // the last is the file's server, or the registry itself
			Resolve:   h.Capabilities.Has(docker.HostCapabilityResolve),
		})
	}
	return e, nil
}

// stampOf changes when a file of a host's directory does.
func stampOf(dir string) (string, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(dir)
	for _, f := range files {
		// Stat and not f.Info: certificates are often links, as in mounted secrets.
		info, err := os.Stat(filepath.Join(dir, f.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "\n%s %d %d", f.Name(), info.Size(), info.ModTime().UnixNano())
	}
	return b.String(), nil
}

// tune sets on a transport of containerd's what a registry.Source expects of one.
func (d *Dir) tune(tr *http.Transport, first bool) {
	if first {
		dialer := newDialer(d.limits.DialTimeout.Duration())
		tr.DialContext = dialer.DialContext
	}
	tr.DialContext = registry.GuardDial(tr.DialContext)
	tr.TLSHandshakeTimeout = d.limits.TLSTimeout.Duration()
	tr.ResponseHeaderTimeout = d.limits.HeaderTimeout.Duration()
	tr.DisableCompression = true
	tr.MaxIdleConns, tr.MaxIdleConnsPerHost = 64, 16
	tr.IdleConnTimeout = time.Minute
}
