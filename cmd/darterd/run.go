package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/darter-p2p/darter/cmd/internal/program"
	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/budget"
	"github.com/darter-p2p/darter/fetcher/credential"
	"github.com/darter-p2p/darter/fetcher/httpsource"
	"github.com/darter-p2p/darter/fetcher/preheat"
	"github.com/darter-p2p/darter/fetcher/registry"
	"github.com/darter-p2p/darter/fetcher/serial"
	"github.com/darter-p2p/darter/fetcher/upstream"
	"github.com/darter-p2p/darter/internal/dynamic"
	"github.com/darter-p2p/darter/internal/join"
	"github.com/darter-p2p/darter/internal/metrics"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/internal/serve"
	"github.com/darter-p2p/darter/internal/timerslack"
	"github.com/darter-p2p/darter/internal/version"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/exchange"
	"github.com/darter-p2p/darter/p2p/limit"
	"github.com/darter-p2p/darter/p2p/node"
	"github.com/darter-p2p/darter/p2p/store"
	"github.com/darter-p2p/darter/p2p/tracker"
	"github.com/darter-p2p/darter/p2p/trust"
	"github.com/darter-p2p/darter/plugin/hosts"
	"github.com/darter-p2p/darter/plugin/mirror"
	"github.com/darter-p2p/darter/plugin/proxy"
	"github.com/darter-p2p/darter/plugin/rafs/client"
	"github.com/darter-p2p/darter/plugin/rafs/door"
	"github.com/darter-p2p/darter/plugin/snapshot"
)

// daemon is darterd's parts.
type daemon struct {
	cfg      *Config
	id       *pki.Identity
	revoked  *join.Revoked
	self     p2p.Host
	started  time.Time
	service  *program.Service
	metrics  *prometheus.Registry
	counters *counters
	store    *store.Disk
	source   *registry.Source   // for this host's readers
	shared   *registry.Source   // for the piece network
	urls     *httpsource.Source // for other hosts
	segments *serial.Source     // of what other hosts want of those
	own      *httpsource.Source // for users of this one
	node     *node.Node
	limits   *limit.Limits
	rules    *fetcher.Rules
	follower *dynamic.Follower // of the manager, nil = there is none
	exchange *exchange.Exchange
	tracker  *tracker.Client
	fetcher  *fetcher.Local
	tags     *fetcher.Tags
	mirror   *mirror.Handler
	policy   *upstream.Policy
	proxy    *proxy.Handler // nil = not served
	rafs     *client.Client // of the mount server, nil = none
	blobs    *door.Handler  // for it
	snapshot *snapshot.Door // nil = not served
}

// timerSlack is how late timers may be. The shortest that matters is a few milliseconds.
const timerSlack = 500 * time.Microsecond

// run wires darterd and runs it until ctx ends.
func run(ctx context.Context, _ io.Writer, cfg Config) error {
	if err := log.SetLevel(cfg.Log.Level); err != nil {
		return fmt.Errorf("log.level: %w", err)
	}
	log.L = log.L.WithField("program", "darterd")
	// A busy daemon's runtime looks around every 20 µs; darterd is a guest on its node.
	if err := timerslack.Set(timerSlack); err != nil {
		log.L.WithError(err).Debug("timers stay as they are")
	}
	d := &daemon{cfg: &cfg, started: time.Now(), service: program.NewService(ctx), metrics: metrics.New("darterd", version.Number())}
	if err := d.identify(ctx); err != nil {
		return err
	}
	if err := d.wire(ctx); err != nil {
		return err
	}
	defer d.close(ctx)
	return d.serve(ctx)
}

// identify takes the node's name and role from its certificate, which it gets first where
// it is to join.
func (d *daemon) identify(ctx context.Context) (err error) {
	if err := join.Enroll(ctx, d.joins()); err != nil {
		return err
	}
	if d.id, err = pki.Load(d.cfg.TLS.files()); err != nil {
		return fmt.Errorf("%w; make one with: darter ca init && darter ca issue, or set [join]", err)
	}
	d.revoked = join.Restore(ctx, d.id, d.cfg.Manager.State+".revoked")
	name := d.id.Name()
	if d.cfg.Seed.Enable && name.Role != pki.Seed {
		return fmt.Errorf("seed.enable: the certificate %s has the role %s, want seed: %w", d.cfg.TLS.Cert, name.Role, errdefs.ErrInvalidArgument)
	}
	d.self = p2p.Host{ID: p2p.HostID(name.Name), Addr: d.cfg.Host.Advertise, Zone: d.cfg.Host.IDC, Seed: d.cfg.Seed.Enable}
	if d.self.Addr == "" {
		d.self.Addr = d.cfg.Peer.Listen
	}
	if at := strings.Split(d.cfg.Host.Location, "|"); len(at) >= 3 {
		d.self.Rack = at[2]
	}
	return d.self.ID.Validate()
}

// wire makes the parts, from the disk up to the door.
func (d *daemon) wire(ctx context.Context) (err error) {
	cfg := d.cfg
	if err := os.MkdirAll(filepath.Dir(cfg.Store.Root), 0o755); err != nil {
		return err
	}
	if d.counters, err = newCounters(d.metrics); err != nil {
		return err
	}
	certs, err := hosts.New(cfg.Containerd, hosts.Options{Self: cfg.Mirror.addresses(), Limits: cfg.Origin})
	if err != nil {
		return err
	}
	instance := string(d.self.ID)
	if d.source, err = registry.New(cfg.registry(), registry.Options{Hosts: certs, Instance: instance, UserAgent: "darter/" + version.Number()}); err != nil {
		return err
	}
	policy, err := upstream.New(cfg.Upstream)
	if err != nil {
		return err
	}
	d.policy = policy
	// What others ask of this host, which may be on its loopback and nobody else's.
	if d.shared, err = registry.New(cfg.registry(), registry.Options{Hosts: certs, Instance: instance, Policy: policy, UserAgent: "darter/" + version.Number()}); err != nil {
		return err
	}
	if d.urls, err = httpsource.New(cfg.Origin, httpsource.Options{Policy: policy, UserAgent: "darter/" + version.Number()}); err != nil {
		return err
	}
	d.segments = serial.New(d.urls, cfg.Seed.Enable)
	if d.own, err = httpsource.New(cfg.Origin, httpsource.Options{Policy: policy.Own(), UserAgent: "darter/" + version.Number()}); err != nil {
		return err
	}
	if d.store, err = store.Open(ctx, cfg.store()); err != nil {
		return err
	}
	peer := cfg.node()
	d.limits, d.rules = peer.Limits, &fetcher.Rules{}
	book, events := budget.New(), d.counters.events(log.G(ctx))
	events.OriginPaused = book.Note
	d.node, err = node.New(peer, d.self.ID, d.store, fetcher.Origins{Source: d.rules.Origins(budget.Source{Under: fetcher.Router{Registry: d.shared, HTTP: d.segments}, Book: book})}, security{d.id}, events)
	if err != nil {
		return err
	}
	x := exchange.Default()
	x.Listen, x.TLSData, x.Identity = cfg.Peer.Listen, cfg.Peer.TLSData, exchange.Member(d.id)
	x.OnRefused = func(from net.Addr, err error) {
		log.G(ctx).WithField("from", from).WithError(err).Info("connection refused")
	}
	if d.exchange, err = exchange.New(x, exchange.TCP{}, d.node); err != nil {
		return err
	}
	if err := d.openTags(ctx); err != nil {
		return err
	}
	t := tracker.Default()
	t.Addresses, t.Host, t.Version = cfg.schedulers(), d.self, version.Number()
	t.Tags = func() []p2p.Tag { return d.tags.Recent(256) }
	if d.tracker, err = tracker.New(t, d.id, d.node.Holdings, d.node.FromScheduler()); err != nil {
		return err
	}
	d.node.Bind(d.exchange, d.tracker)
	if d.fetcher, err = fetcher.New(cfg.Fetch, d.node, budget.Source{Under: fetcher.Router{Registry: d.source, HTTP: d.own}, Book: book}, fetcher.Options{Tags: d.tags, Hearsay: d.tracker, Policy: policy, Access: &cfg.Auth, Metrics: d.metrics, Limits: peer.Limits, Rules: d.rules, Parts: d.node}); err != nil {
		return err
	}
	return d.openDoors(ctx)
}

// openDoors makes the doors. The snapshot door reads with what the mirror has seen a
// moment ago, then with the node's own; the mirror with the node's own if it may.
func (d *daemon) openDoors(ctx context.Context) error {
	own, err := credential.Node(d.cfg.Credentials, warnCredentials)
	if err != nil {
		return err
	}
	seen := new(credential.Seen)
	o := mirror.Options{Instance: string(d.self.ID), Metrics: d.metrics, Witness: seen}
	if d.cfg.Mirror.NodeCredentials {
		o.Credentials = own
	}
	if d.mirror, err = mirror.New(d.fetcher, d.cfg.Mirror.Answer, o); err != nil {
		return err
	}
	if d.cfg.Proxy.Enable {
		d.proxy, err = proxy.New(d.cfg.Proxy, proxy.Options{
			Mirror: d.mirror, Files: d.fetcher, Health: &d.service.Health, Policy: d.policy,
			Patience: d.cfg.Mirror.Answer.LazyTimeout.Duration(), Metrics: d.metrics,
		})
		if err != nil {
			return err
		}
	}
	known := credential.First(warnCredentials, seen, own)
	d.blobs = door.New(d.fetcher, known)
	if d.cfg.Snapshot.Enable {
		o := snapshot.Options{Fetcher: d.fetcher, Credentials: known, Resolver: d.fetcher, Metrics: d.metrics}
		if d.cfg.Rafs.Socket != "" {
			d.rafs = client.New(d.cfg.Rafs.Socket)
			o.Mounter = d.rafs
		}
		d.snapshot, err = snapshot.New(ctx, d.cfg.Snapshot, o)
	}
	return err
}

// openTags takes up what is remembered of tags, in the file "tags" beside the store.
func (d *daemon) openTags(ctx context.Context) error {
	path := filepath.Join(filepath.Dir(d.cfg.Store.Root), "tags")
	tags, damaged, err := fetcher.OpenTags(path, d.cfg.Fetch.TagMemory.Duration())
	if err != nil {
		return err
	}
	if damaged > 0 {
		log.G(ctx).WithFields(log.Fields{"file": path, "lines": damaged}).Warn("remembered tags were damaged and are left out")
	}
	d.tags = tags
	return nil
}

// warnCredentials says that a place of credentials failed, and another had one.
func warnCredentials(ctx context.Context, err error) {
	log.G(ctx).WithError(err).Warn("some of this node's credentials cannot be had")
}

// close closes what wire opened.
func (d *daemon) close(ctx context.Context) {
	if d.snapshot != nil {
		if err := d.snapshot.Close(); err != nil {
			log.G(ctx).WithError(err).Error("close snapshots")
		}
	}
	if d.rafs != nil {
		d.rafs.Close()
	}
	if d.proxy != nil {
		d.proxy.Close()
	}
	d.fetcher.Close()
	d.segments.Close()
	if err := errors.Join(d.source.Close(), d.shared.Close(), d.urls.Close(), d.own.Close()); err != nil {
		log.G(ctx).WithError(err).Warn("close origins")
	}
	if err := d.tags.Close(); err != nil {
		log.G(ctx).WithError(err).Warn("close remembered tags")
	}
	if err := d.store.Close(); err != nil {
		log.G(ctx).WithError(err).Error("close store")
	}
}

// serve runs the parts; they stop in reverse order, the doors first.
func (d *daemon) serve(ctx context.Context) error {
	for _, l := range []struct {
		name, addr string
		handler    http.Handler
	}{
		{"metrics", d.cfg.Metrics.Listen, metrics.Handler(d.metrics)},
		{"health", d.cfg.Health.Listen, &d.service.Health},
	} {
		if err := d.service.AddHTTP(l.name, l.addr, l.handler); err != nil {
			return err
		}
	}
	d.service.Add("exchange", d.exchange.Run)
	d.service.Add("node", d.node.Run)
	d.service.Add("scheduler", d.tracker.Run)
	d.service.Add("membership", func(ctx context.Context) error { return join.Keep(ctx, d.joins(), d.id) })
	d.addManager()
	control, err := serve.Unix(d.cfg.Control.Socket, 0o600)
	if err != nil {
		return err
	}
	d.service.Add("control", func(ctx context.Context) error { return serve.HTTP(ctx, control, d.control(), 0) })
	if err := d.addMirrors(); err != nil {
		return err
	}
	if err := d.addSnapshots(); err != nil {
		return err
	}
	log.G(ctx).WithFields(log.Fields{"host": d.self.ID, "seed": d.self.Seed, "mirror": d.cfg.Mirror.Listen, "peers": d.exchange.Addr().String()}).Info("darterd serves")
	return d.service.Run(ctx, func(context.Context) error { d.node.Slots(); return nil })
}

// addMirrors adds the mirror, with the proxy where it is enabled, and the mirrors of one
// registry each.
func (d *daemon) addMirrors() error {
	var door http.Handler = d.mirror
	if d.proxy != nil {
		door = d.proxy
	}
	if err := d.addJobs(); err != nil {
		return err
	}
	if err := d.service.AddHTTP("mirror", d.cfg.Mirror.Listen, door); err != nil {
		return err
	}
	for _, u := range d.cfg.Mirror.Upstreams {
		one, err := d.mirror.Only(u.Registry)
		if err != nil {
			return err
		}
		if err := d.service.AddHTTP("mirror of "+u.Registry, u.Listen, one); err != nil {
			return err
		}
	}
	return nil
}

// addSnapshots adds the snapshot door; nothing where it is not enabled.
func (d *daemon) addSnapshots() error {
	if d.snapshot == nil {
		return nil
	}
	l, err := serve.Unix(d.cfg.Snapshot.Socket, 0o600)
	if err != nil {
		return err
	}
	d.service.Add("snapshots", func(ctx context.Context) error { return d.snapshot.Serve(ctx, l) })
	return nil
}

// addJobs adds what managers ask of this node; nothing where it has no address.
func (d *daemon) addJobs() error {
	if d.cfg.Jobs.Listen == "" {
		return nil
	}
	l, err := net.Listen("tcp", d.cfg.Jobs.Listen)
	if err != nil {
		return fmt.Errorf("jobs: %w", err)
	}
	jobs := preheat.New(d.fetcher, d.node, d.store)
	d.service.Add("jobs", func(ctx context.Context) error { return jobs.Serve(ctx, l, d.id) })
	return nil
}

// security is the node's identity as its part in the piece network needs it.
type security struct{ *pki.Identity }

func (s security) Signer(token []byte) (*trust.Signer, error) {
	key, cert := s.Identity.Signer()
	return trust.NewSigner(key, cert, token)
}
