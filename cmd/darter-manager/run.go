package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/darter-p2p/darter/cmd/internal/program"
	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/internal/metrics"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/internal/serve"
	"github.com/darter-p2p/darter/internal/version"
	"github.com/darter-p2p/darter/manager/access"
	"github.com/darter-p2p/darter/manager/ca"
	"github.com/darter-p2p/darter/manager/control"
	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/problem"
	"github.com/darter-p2p/darter/manager/rest"
)

// rootPassword is the environment variable of the first administrator's password.
const rootPassword = "DARTER_ROOT_PASSWORD"

// run serves until ctx ends.
func run(ctx context.Context, out io.Writer, cfg Config) (err error) {
	if err := log.SetLevel(cfg.Log); err != nil {
		return fmt.Errorf("log_level: %w", err)
	}
	id, err := identity(ctx, &cfg)
	if err != nil {
		return err
	}
	store, err := database.Open(ctx, cfg.Database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	guard := access.New(cfg.Access, store, time.Now)
	if err := firstAdministrator(ctx, out, guard); err != nil {
		return err
	}
	authority, err := newAuthority(ctx, &cfg, id, store)
	if err != nil {
		return err
	}
	registry := metrics.New("darter-manager", version.Number())
	members, err := control.New(cfg.Control, store, time.Now, registry)
	if err != nil {
		return err
	}
	work, err := newWorks(&cfg, id, store, guard, registry)
	if err != nil {
		return err
	}
	api, err := rest.New(rest.Config{
		Authority: authority.rest(), Store: store, Guard: guard, Now: time.Now, Changed: members.Changed, URL: cfg.URL,
		Secure: cfg.TLS.Cert != "" || strings.HasPrefix(cfg.URL, "https:"), Metrics: registry, Jobs: work.seals, Made: work.made,
	})
	if err != nil {
		return err
	}

	service := program.NewService(ctx)
	mux := http.NewServeMux()
	mux.Handle("/", &service.Health)
	mux.Handle("/metrics", metrics.Handler(registry))
	mux.Handle(rest.Prefix, api)
	mux.Handle(rest.Prefix+"/", api)
	work.mount(mux)
	web, err := listen(&cfg)
	if err != nil {
		return err
	}
	service.Add("sweeping", func(ctx context.Context) error { return sweep(ctx, store, cfg.Keep) })
	service.Add("following", members.Run)
	service.Add("revoked", func(ctx context.Context) error { return ca.Follow(ctx, store, id, time.Now) })
	service.Add("jobs", work.worker.Run)
	l, err := net.Listen("tcp", cfg.Members)
	if err != nil {
		return errors.Join(fmt.Errorf("listen for members: %w", err), web.Close())
	}
	service.Add("members", func(ctx context.Context) error {
		return members.Serve(ctx, l, authority.credentials(pki.Node, pki.Seed, pki.Scheduler, pki.Client), authority.register)
	})
	service.Add("web", func(ctx context.Context) error { return serve.HTTP(ctx, web, bounded(problem.Meant(mux)), 0) })
	log.G(ctx).WithField("web", web.Addr()).WithField("members", l.Addr()).WithField("database", store.Kind()).
		WithField("name", id.Name()).WithField("version", version.Number()).Info("Managing")
	return service.Run(ctx, store.Ping)
}

// requestTimeout bounds a request, body and answer included.
const requestTimeout = time.Minute

// bounded ends requests that are sent or read too slowly.
func bounded(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		late := time.Now().Add(requestTimeout)
		if err := errors.Join(c.SetReadDeadline(late), c.SetWriteDeadline(late)); err != nil {
			log.G(r.Context()).WithError(err).Warning("Cannot bound a request")
		}
		ctx, stop := context.WithDeadline(r.Context(), late)
		defer stop()
		h.ServeHTTP(w, r.WithContext(ctx))
	})
}

// listen opens the REST API's address.
func listen(cfg *Config) (net.Listener, error) {
	var certs []tls.Certificate
	if cfg.TLS.Cert != "" {
		pair, err := tls.LoadX509KeyPair(cfg.TLS.Cert, cfg.TLS.Key)
		if err != nil {
			return nil, fmt.Errorf("tls: %w: %w", errdefs.ErrInvalidArgument, err)
		}
		certs = append(certs, pair)
	}
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if certs != nil {
		l = tls.NewListener(l, &tls.Config{Certificates: certs, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}})
	}
	return l, nil
}

// identity loads the manager's certificate, or makes the CA that issues it.
func identity(ctx context.Context, cfg *Config) (*pki.Identity, error) {
	if cfg.Identity.CA != "" {
		id, err := pki.Load(pki.Files{CA: cfg.Identity.CA, Cert: cfg.Identity.Cert, Key: cfg.Identity.Key})
		if err != nil {
			return nil, err
		}
		if role := id.Name().Role; role != pki.Manager {
			return nil, fmt.Errorf("%s has the role %s, want %s: no member would believe it", cfg.Identity.Cert, role, pki.Manager)
		}
		return id, nil
	}
	made, err := pki.LoadCA(cfg.caDir())
	if errdefs.IsNotFound(err) && cfg.Join.CA == "" {
		if made, err = pki.CreateCA(cfg.Identity.Cluster, time.Now(), pki.DefaultCADays*24*time.Hour); err != nil {
			return nil, fmt.Errorf("identity: %w", err)
		}
		if err = made.Write(cfg.caDir()); err == nil {
			log.G(ctx).WithField("dir", cfg.caDir()).Info("Made the cluster's CA")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	name, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	return made.Identity(pki.Manager, name)
}

// firstAdministrator makes the user root where there is no user, and says its password
// once if nobody chose it.
func firstAdministrator(ctx context.Context, out io.Writer, guard *access.Guard) error {
	made, random, err := guard.FirstAdministrator(ctx, os.Getenv(rootPassword))
	if err != nil {
		return fmt.Errorf("first administrator: %w", err)
	}
	if made && random != "" {
		_, err := fmt.Fprintf(out, "The first start: sign in as root with the password %s. It is not shown again.\n", random)
		return err
	}
	return nil
}

// sweepEvery is how often old rows are deleted.
const sweepEvery = 10 * time.Minute

// sweep deletes old rows until ctx ends.
func sweep(ctx context.Context, store *database.Store, keep Keep) error {
	for {
		now := time.Now()
		before := func(d config.Duration) time.Time {
			if d == 0 {
				return time.Time{}
			}
			return now.Add(-d.Duration())
		}
		if err := store.Sweep(ctx, now, before(keep.Audits), before(keep.Jobs)); err != nil && ctx.Err() == nil {
			log.G(ctx).WithError(err).Warning("Cannot delete old rows")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sweepEvery):
		}
	}
}
