package main

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/manager/access"
	"github.com/darter-p2p/darter/manager/ca"
	"github.com/darter-p2p/darter/manager/control"
	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/harbor"
)

// Config is darter-manager's configuration file.
type Config struct {
	Listen   string          `toml:"listen" doc:"HTTP address of the REST API, /metrics, /healthz, /healthy and /server/ping."`
	URL      string          `toml:"public_url" doc:"Where browsers reach the manager, such as https://manager.example. Signing in through an OpenID Connect provider needs it: the callback, which the provider must know, is PUBLIC_URL/api/v1/session/providers/NAME/callback."`
	Members  string          `toml:"members" doc:"Address of gRPC for schedulers, seeds and nodes. The usual one is :65003."`
	Log      string          `toml:"log_level" doc:"Least severe messages that are logged: error, warning, info, debug or trace."`
	Data     string          `toml:"data" doc:"Directory of what the manager keeps beside the database: the CA that it makes."`
	TLS      TLS             `toml:"tls" doc:"HTTPS of the REST API. Without it put a proxy that speaks HTTPS in front, or keep listen on loopback."`
	Identity Identity        `toml:"identity" doc:"Who the manager is to members. Without files the manager makes a CA and is itself its first member."`
	Join     ca.Config       `toml:"join" doc:"How hosts become members by token."`
	Database database.Config `toml:"database" doc:"Where the rows are."`
	Access   access.Config   `toml:"access" doc:"How users are known."`
	Control  control.Config  `toml:"control" doc:"How members are known to be up."`
	Jobs     Jobs            `toml:"jobs" doc:"How jobs are done."`
	Harbor   harbor.Config   `toml:"harbor" doc:"Preheats that Harbor asks for, at /preheats and /oapi/v1/jobs."`
	Keep     Keep            `toml:"keep" doc:"How long rows are kept."`
}

// TLS is the REST API's certificate.
type TLS struct {
	Cert string `toml:"cert" doc:"PEM file of the certificate with its chain; empty = plain HTTP. A replaced file is used at the next start."`
	Key  string `toml:"key" doc:"PEM file of its key."`
}

// Identity is the manager's certificate in the cluster.
type Identity struct {
	Cluster string `toml:"cluster" doc:"Name of the cluster's identities, for the CA that the manager makes."`
	CA      string `toml:"ca" doc:"PEM file of the cluster's CA (darter ca init). Empty = the manager makes one in data."`
	Cert    string `toml:"cert" doc:"PEM file of the manager's certificate (darter ca issue --role manager)."`
	Key     string `toml:"key" doc:"PEM file of its key."`
}

// Keep is how long rows live.
type Keep struct {
	Audits config.Duration `toml:"audits" doc:"Audits are deleted after this; 0 = never."`
	Jobs   config.Duration `toml:"jobs" doc:"Jobs that have ended are deleted after this; 0 = never."`
}

// Default returns the configuration of a manager that needs no other service.
func Default() Config {
	return Config{
		Listen:   ":8080",
		Members:  ":65003",
		Log:      "info",
		Data:     "/var/lib/darter/manager",
		Identity: Identity{Cluster: "darter"},
		Join:     ca.Default(),
		Database: database.Default(),
		Access:   access.Default(),
		Control:  control.Default(),
		Jobs:     defaultJobs(),
		Keep:     Keep{Audits: config.Duration(90 * 24 * time.Hour), Jobs: config.Duration(7 * 24 * time.Hour)},
	}
}

// Validate returns the first value that cannot work.
func (c *Config) Validate() error {
	if c.Listen == "" {
		return errors.New("listen: empty, want host:port")
	}
	if u, err := url.Parse(c.URL); c.URL != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || strings.HasSuffix(c.URL, "/")) {
		return fmt.Errorf("public_url: %q, want one such as https://manager.example without a slash at its end", c.URL)
	}
	if c.Members == "" {
		return errors.New("members: empty, want host:port")
	}
	if c.Data == "" {
		return errors.New("data: empty, want a directory")
	}
	if _, err := logrus.ParseLevel(c.Log); err != nil {
		return fmt.Errorf("log_level: %w", err)
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		return errors.New("tls: cert and key come together")
	}
	if id := c.Identity; (id.CA == "") != (id.Cert == "") || (id.CA == "") != (id.Key == "") {
		return errors.New("identity: ca, cert and key come together")
	}
	if err := c.Join.Validate(); err != nil {
		return fmt.Errorf("join.%w", err)
	}
	if err := c.Database.Validate(); err != nil {
		return fmt.Errorf("database.%w", err)
	}
	if err := c.Access.Validate(); err != nil {
		return fmt.Errorf("access.%w", err)
	}
	if err := c.Control.Validate(); err != nil {
		return fmt.Errorf("control.%w", err)
	}
	if err := c.Jobs.worker().Validate(); err != nil {
		return fmt.Errorf("jobs.%w", err)
	}
	return nil
}

// caDir is where the CA is that the manager has or makes.
func (c *Config) caDir() string {
	if c.Join.CA != "" {
		return c.Join.CA
	}
	return filepath.Join(c.Data, "ca")
}
