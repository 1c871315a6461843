package lab

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	darterdv1 "github.com/darter-p2p/darter/api/darterd/v1"
)

const (
	// SchedulerPort and the others are darter's default ports.
	SchedulerPort = 8002
	healthPort    = 40901
	// Mirror is the address of a node's own darterd for its containerd and dockerd.
	Mirror = "http://127.0.0.1:65001"
)

//go:embed darterd.toml
var darterdConfig string

//go:embed scheduler.toml
var schedulerConfig string

// Cluster is the certificates of a darter cluster and its programs.
type Cluster struct {
	programs Programs
	dir      string // of the certificates
	manager  string // whom members follow; "" = nobody
	lab      *Lab
}

// NewCluster makes the certificates of a cluster with `darter ca`.
func (l *Lab) NewCluster(ctx context.Context) (*Cluster, error) {
	found, err := l.FindPrograms(ctx)
	if err != nil {
		return nil, err
	}
	c := &Cluster{programs: found, dir: filepath.Join(l.DataDir(), "ca"), lab: l}
	return c, output(ctx, found.path("darter"), "ca", "init", "--cluster", "lab", "--dir", c.dir)
}

// configure makes the certificate of a member and writes its configuration file.
func (c *Cluster) configure(ctx context.Context, h *Host, role, text string, values map[string]any) (path string, err error) {
	err = output(ctx, c.programs.path("darter"), "ca", "issue", "--role", role, "--name", h.Name, "--dir", c.dir)
	if err != nil {
		return "", err
	}
	values["Manager"] = c.manager
	values["CA"], values["Dir"], values["Data"], values["Name"] = c.dir, h.Dir, filepath.Join(h.Data, "darter"), h.Name
	path = filepath.Join(h.Dir, role+".toml")
	if err := errors.Join(os.MkdirAll(filepath.Join(h.Data, "darter"), 0o755), writeConfig(path, text, values)); err != nil {
		return "", fmt.Errorf("configure %s: %w", h.Name, err)
	}
	return path, nil
}

// Scheduler is a darter-scheduler on a host.
type Scheduler struct {
	*Process
	Host *Host
	Addr string // for nodes
}

// StartScheduler starts a darter-scheduler on the host.
func (c *Cluster) StartScheduler(ctx context.Context, h *Host) (*Scheduler, error) {
	config, err := c.configure(ctx, h, "scheduler", schedulerConfig, map[string]any{})
	if err != nil {
		return nil, err
	}
	s := &Scheduler{Host: h, Addr: h.HostPort(SchedulerPort)}
	s.Process, err = h.Start(ctx, Program{
		Name: "scheduler", Argv: []string{c.programs.path("darter-scheduler"), "--config", config}, Ready: h.AcceptsAt(s.Addr),
	})
	return s, err
}

// Darterd is a darterd on a host.
type Darterd struct {
	*Process
	Host *Host
	Seed bool

	socket string
}

// DarterdOptions say what a darterd is.
type DarterdOptions struct {
	Seed       bool
	Scheduler  string            // its address
	Registries map[string]string // the name that images have → the registry's real URL
	Door       bool              // serve containerd's snapshot plugin, too
	DoorExtra  string            // TOML in the table of the door
	Extra      string            // TOML behind all else
	AsShipped  bool              // be as patient as darterd is by default, not as tests on a busy machine want it
	StoreRoot  string            // of the piece store, which may fill its disk; "" = in the host's data
	Ahead      time.Duration     // of its monotonic clock before the machine's, by a time namespace
}

// StartDarterd starts a darterd on the host and waits until it is ready.
func (c *Cluster) StartDarterd(ctx context.Context, h *Host, o DarterdOptions) (*Darterd, error) {
	role := "node"
	if o.Seed {
		role = "seed"
	}
	d := &Darterd{Host: h, Seed: o.Seed, socket: filepath.Join(h.Dir, "darterd.sock")}
	config, err := c.configure(ctx, h, role, darterdConfig, map[string]any{
		"Options": o, "Socket": d.socket, "HealthPort": healthPort, "DoorSocket": h.doorSocket(), "DoorRoot": h.doorRoot(),
		"RafsSocket": h.rafsSocket(),
	})
	if err != nil {
		return nil, err
	}
	argv := []string{c.programs.path("darterd"), "--config", config}
	if o.Ahead > 0 {
		by := fmt.Sprint(int(o.Ahead.Seconds()))
		argv = append([]string{"unshare", "--time", "--fork", "--kill-child", "--monotonic", by, "--boottime", by}, argv...)
	}
	d.Process, err = h.Start(ctx, Program{
		Name: "darterd", Argv: argv,
		Ready: h.Healthy(fmt.Sprintf("http://127.0.0.1:%d/healthz", healthPort)),
	})
	return d, err
}

// Status asks darterd for its state.
func (d *Darterd) Status(ctx context.Context) (darterdv1.Status, error) {
	var status darterdv1.Status
	return status, d.ask(ctx, darterdv1.StatusPath, nil, &status)
}

// Explain asks darterd where the bytes of a task came from.
func (d *Darterd) Explain(ctx context.Context, what string) (darterdv1.Explanation, error) {
	var explanation darterdv1.Explanation
	return explanation, d.ask(ctx, darterdv1.ExplainPath, url.Values{darterdv1.WhatParam: {what}}, &explanation)
}

// ask decodes darterd's answer to a question on its socket.
func (d *Darterd) ask(ctx context.Context, path string, params url.Values, into any) error {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", d.socket)
	}}
	defer transport.CloseIdleConnections()
	where := url.URL{Scheme: "http", Host: "darterd", Path: path, RawQuery: params.Encode()}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, where.String(), nil)
	if err != nil {
		return err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("darterd of %s: %w", d.Host.Name, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		var said darterdv1.Error
		_ = json.NewDecoder(response.Body).Decode(&said) // the status says enough
		return fmt.Errorf("darterd of %s: %s: %s %s", d.Host.Name, path, response.Status, said.Message)
	}
	return json.NewDecoder(response.Body).Decode(into)
}
