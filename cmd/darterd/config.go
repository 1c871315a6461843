package main

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/access"
	"github.com/darter-p2p/darter/fetcher/credential"
	"github.com/darter-p2p/darter/fetcher/registry"
	"github.com/darter-p2p/darter/fetcher/upstream"
	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/internal/dynamic"
	"github.com/darter-p2p/darter/internal/join"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p/limit"
	"github.com/darter-p2p/darter/p2p/node"
	"github.com/darter-p2p/darter/p2p/store"
	"github.com/darter-p2p/darter/plugin/hosts"
	"github.com/darter-p2p/darter/plugin/mirror"
	"github.com/darter-p2p/darter/plugin/proxy"
	"github.com/darter-p2p/darter/plugin/rafs/client"
	"github.com/darter-p2p/darter/plugin/snapshot"
)

// Config is darterd's configuration, as in /etc/darter/darterd.toml.
type Config struct {
	Log         Log                   `toml:"log" doc:"What is logged to standard error."`
	Host        Host                  `toml:"host" doc:"Where this node is."`
	TLS         TLS                   `toml:"tls" doc:"This node's place in the cluster; darter ca makes these files."`
	Join        join.Config           `toml:"join" doc:"How this host becomes a member by itself, where a manager lets it."`
	Scheduler   Scheduler             `toml:"scheduler" doc:"Who introduces this node to others."`
	Seed        Seed                  `toml:"seed" doc:"Whether this node reads origins for others."`
	Peer        Peer                  `toml:"peer" doc:"The piece network: how pieces are exchanged with other nodes."`
	Limits      limit.Config          `toml:"limits" doc:"Bandwidth."`
	Store       Store                 `toml:"store" doc:"Where pieces are kept."`
	Fetch       fetcher.Config        `toml:"fetch" doc:"When the origin is asked instead of the piece network."`
	Auth        access.Config         `toml:"auth" doc:"Who may read content that the piece network has. Registries are asked; this is for how long their answer counts."`
	Mirror      Mirror                `toml:"mirror" doc:"The registry mirror door."`
	Proxy       proxy.Config          `toml:"proxy" doc:"The HTTP proxy door, for nydusd and other programs."`
	Snapshot    snapshot.Config       `toml:"snapshot" doc:"The snapshot door: containerd's proxy plugin darter."`
	Rafs        client.Config         `toml:"rafs" doc:"Nydus images, whose containers read them lazily; needs the snapshot door."`
	Credentials credential.Config     `toml:"credentials" doc:"Where this node's own credentials of registries are. The snapshot door reads private images with them; the mirror does with mirror.node_credentials."`
	Containerd  hosts.Config          `toml:"containerd" doc:"Settings of registries that containerd has already."`
	Health      Listen                `toml:"health" doc:"Health over HTTP: /healthz, /healthy, /server/ping."`
	Metrics     Listen                `toml:"metrics" doc:"Prometheus metrics over HTTP: /metrics."`
	Jobs        Listen                `toml:"jobs" doc:"The manager's jobs over gRPC (preheat, delete, who has what). Only certificates of role manager are let in. The usual address is :65000; empty serves none."`
	Manager     dynamic.Config        `toml:"manager" doc:"The manager. What it sets replaces what this file says of limits, slots, quota, floor and ttl while the node runs, and it names what is blocked. Nothing waits for it."`
	Control     Control               `toml:"control" doc:"The socket of the program darter."`
	Origin      registry.Limits       `toml:"origin" doc:"Bounds of every read of an origin."`
	Upstream    upstream.Config       `toml:"upstream" doc:"Which servers are read for other nodes, and for URLs (darter get)."`
	Registries  []registry.HostConfig `toml:"registry" doc:"Settings of one registry each. A registry without a table takes those of certs.d/hosts.toml, and without these https, or plain http on loopback."`
}

// Log is what is logged.
type Log struct {
	Level string `toml:"level" doc:"Least severity: trace, debug, info, warning or error."`
}

// Host is where the node is.
type Host struct {
	Advertise string `toml:"advertise" doc:"host:port at which others reach this node's piece network. Empty is the address that the scheduler sees, with the port of peer.listen."`
	IDC       string `toml:"idc" doc:"The node's zone, such as a data centre's name. Empty is unknown."`
	Location  string `toml:"location" doc:"region|zone|rack. Neighbours are taken from the own rack first. Empty is unknown."`
}

// TLS names the files of the node's identity.
type TLS struct {
	CA   string `toml:"ca" doc:"PEM file of the cluster's certificate authority."`
	Cert string `toml:"cert" doc:"PEM file of this node's certificate, of role node or seed. It is read again when it changes."`
	Key  string `toml:"key" doc:"PEM file of the certificate's key."`
}

func (t TLS) files() pki.Files { return pki.Files{CA: t.CA, Cert: t.Cert, Key: t.Key} }

// Scheduler names the schedulers.
type Scheduler struct {
	Addresses []string        `toml:"addresses" doc:"host:port of the cluster's schedulers. Contents are spread over all that answer: give every node the same list, in any order. Empty = those that the manager names; 127.0.0.1:8002 where there is no manager."`
	Wait      config.Duration `toml:"wait" doc:"How long a new download waits for a scheduler that is away before it goes to the origin."`
}

// Seed makes the node a seed.
type Seed struct {
	Enable bool `toml:"enable" doc:"Read origins for other nodes. Needs a certificate of role seed."`
}

// Peer is the node's part in the piece network.
type Peer struct {
	Listen        string          `toml:"listen" doc:"Address of pieces and peer control. An empty host is every address."`
	TLSData       bool            `toml:"tls_data" doc:"Encrypt the pieces on the wire too, at about twice the CPU. All nodes of a cluster must agree."`
	UploadSlots   int             `toml:"upload_slots" doc:"Pieces sent at a time, 1 to 1024. 0 is 3, on a seed 6, and up to 6 where messages take longer than pieces."`
	DownloadSlots int             `toml:"download_slots" doc:"Neighbours that pieces are taken from at a time, 1 to 64. 0 is 3, and up to 6 where messages take longer than pieces; never more than upload_slots."`
	IdleAfter     config.Duration `toml:"idle_after" doc:"How long a link that no task needs is kept."`
}

// Store is where pieces are kept.
type Store struct {
	Root  string          `toml:"root" doc:"Directory of the pieces."`
	Quota config.Bytes    `toml:"quota" doc:"Space that the pieces may take. 0 is as much as the floor leaves."`
	Floor config.Bytes    `toml:"floor" doc:"Space of the file system that is left to others. Keep it above the kubelet's eviction threshold."`
	TTL   config.Duration `toml:"ttl" doc:"How long content that nobody uses is kept. 0 is until its space is needed."`
}

// Mirror is the mirror door and its address.
type Mirror struct {
	Listen string `toml:"listen" doc:"Address of the mirror for containerd, docker and other clients on this node. Keep it on loopback."`
	// NodeCredentials is off because it widens who may read what.
	NodeCredentials bool          `toml:"node_credentials" doc:"Let clients on loopback that show no credential, as nerdctl does, read private images with this node's own. Every user and every container in the host's network can then read what the node may."`
	Answer          mirror.Config `toml:"answer" doc:"How the mirror answers."`
	// Upstreams is last: a list of tables.
	Upstreams []mirror.Upstream `toml:"upstream" doc:"Registries with a mirror at an address of its own, for clients that cannot say which registry they mean, as those of nydus-snapshotter."`
}

// addresses are where the mirror listens.
func (m Mirror) addresses() []string {
	all := []string{m.Listen}
	for _, u := range m.Upstreams {
		all = append(all, u.Listen)
	}
	return all
}

// Listen is an address to serve at.
type Listen struct {
	Listen string `toml:"listen" doc:"host:port. Empty serves nothing."`
}

// Control is the command line's way in.
type Control struct {
	Socket string `toml:"socket" doc:"Path of the Unix socket."`
}

// defaultConfig is what darterd does without a file.
func defaultConfig() Config {
	n, st := node.Default(), store.Default()
	return Config{
		Log:         Log{Level: "info"},
		TLS:         TLS{CA: "/etc/darter/tls/ca.crt", Cert: "/etc/darter/tls/node.crt", Key: "/etc/darter/tls/node.key"},
		Scheduler:   Scheduler{Wait: config.Duration(n.SchedulerWait)},
		Peer:        Peer{Listen: ":65002", IdleAfter: config.Duration(n.IdleAfter)},
		Store:       Store{Root: st.Root, Quota: config.Bytes(st.Quota), Floor: config.Bytes(st.Floor), TTL: config.Duration(st.TTL)},
		Fetch:       fetcher.Default(),
		Auth:        access.Default(),
		Mirror:      Mirror{Listen: "127.0.0.1:65001", Answer: mirror.Default()},
		Proxy:       proxy.Default(),
		Snapshot:    snapshot.Default(),
		Rafs:        client.Default(),
		Credentials: credential.Default(),
		Containerd:  hosts.Default(),
		Manager:     dynamic.Default(),
		Health:      Listen{"127.0.0.1:40901"},
		Metrics:     Listen{":8000"},
		Control:     Control{Socket: "/run/darter/darterd.sock"},
		Origin:      registry.Default().Origin,
	}
}

// Validate reports every setting that cannot work, by its key.
func (c *Config) Validate() error {
	var errs []error
	check := func(key string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", key, err))
		}
	}
	_, err := logrus.ParseLevel(c.Log.Level)
	check("log.level", err)
	for key, addr := range map[string]string{"peer.listen": c.Peer.Listen, "mirror.listen": c.Mirror.Listen} {
		_, _, err := net.SplitHostPort(addr)
		check(key, err)
	}
	for key, addr := range map[string]string{"host.advertise": c.Host.Advertise, "health.listen": c.Health.Listen, "metrics.listen": c.Metrics.Listen, "jobs.listen": c.Jobs.Listen} {
		if addr != "" {
			_, _, err := net.SplitHostPort(addr)
			check(key, err)
		}
	}
	for _, a := range c.Scheduler.Addresses {
		_, _, err := net.SplitHostPort(a)
		check("scheduler.addresses", err)
	}
	if c.Control.Socket == "" {
		check("control.socket", errors.New("empty, want a path"))
	}
	check("peer", c.node().Validate())
	check("store", c.store().Validate())
	check("fetch", c.Fetch.Validate())
	check("auth", c.Auth.Validate())
	check("mirror.answer", c.Mirror.Answer.Validate())
	for _, u := range c.Mirror.Upstreams {
		check("mirror.upstream", u.Validate())
	}
	check("proxy", c.Proxy.Validate())
	check("snapshot", c.Snapshot.Validate())
	check("rafs", c.Rafs.Validate())
	check("credentials", c.Credentials.Validate())
	check("limits", c.Limits.Validate())
	check("manager", c.Manager.Validate())
	check("join", c.Join.Validate(c.Manager.Address))
	check("containerd", c.Containerd.Validate())
	check("upstream", c.Upstream.Validate())
	check("registry", c.registry().Validate())
	if first, most := c.Fetch.FirstByte, c.Mirror.Answer.FirstByteTimeout; first >= most {
		check("fetch.first_byte", fmt.Errorf("%v, want less than mirror.answer.first_byte_timeout (%v)", first, most))
	}
	if urgent, most := c.Fetch.Urgent, c.Mirror.Answer.LazyTimeout; urgent >= most {
		check("fetch.urgent", fmt.Errorf("%v, want less than mirror.answer.lazy_timeout (%v)", urgent, most))
	}
	return errors.Join(errs...)
}

// schedulers are those that the node begins with.
func (c *Config) schedulers() []string {
	if len(c.Scheduler.Addresses) == 0 && c.Manager.Address == "" {
		return []string{"127.0.0.1:8002"}
	}
	return c.Scheduler.Addresses
}

func (c *Config) registry() registry.Config {
	return registry.Config{Registries: c.Registries, Origin: c.Origin}
}

func (c *Config) store() store.Config {
	s := store.Default()
	s.Root, s.Quota, s.Floor, s.TTL = c.Store.Root, int64(c.Store.Quota), int64(c.Store.Floor), time.Duration(c.Store.TTL)
	return s
}

func (c *Config) node() node.Config {
	n := node.Default()
	if c.Seed.Enable {
		n = node.DefaultSeed()
	}
	n.SetSlots(c.Peer.UploadSlots, c.Peer.DownloadSlots)
	n.Limits = limit.New(c.Limits)
	n.SlowRate = c.Fetch.Slow.BytesPerSecond()
	n.SchedulerWait, n.IdleAfter = c.Scheduler.Wait.Duration(), c.Peer.IdleAfter.Duration()
	return n
}
