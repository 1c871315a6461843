package lab

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"net/http"
	"strings"

	"github.com/darter-p2p/darter/integration/manager"
)

// The manager's default ports.
const (
	managerWeb     = 8080
	managerMembers = 65003
)

//go:embed manager.toml
var managerConfig string

// Manager is a darter-manager on a host.
type Manager struct {
	*Process
	Host    *Host
	URL     string // of its REST API, without the path
	Members string // where members connect

	cluster *Cluster
}

// StartManager starts a darter-manager on SQLite on the host; extra is TOML behind all
// else. Schedulers and darterds of the cluster that are started after it follow it.
func (c *Cluster) StartManager(ctx context.Context, h *Host, extra string) (*Manager, error) {
	m := &Manager{Host: h, URL: "http://" + h.HostPort(managerWeb), Members: h.HostPort(managerMembers), cluster: c}
	config, err := c.configure(ctx, h, "manager", managerConfig, map[string]any{
		"Web": h.HostPort(managerWeb), "Members": m.Members, "Extra": extra,
	})
	if err != nil {
		return nil, err
	}
	m.Process, err = h.Start(ctx, Program{
		Name: "manager", Argv: []string{c.programs.path("darter-manager"), "--config", config},
		Env: []string{"DARTER_ROOT_PASSWORD=" + manager.RootPassword}, Ready: h.Healthy(m.URL + "/healthy"),
	})
	if err == nil {
		c.manager = m.Members
	}
	return m, err
}

// SignIn returns a client of the manager's REST API, as root. The caller closes the
// transport's idle connections.
func (m *Manager) SignIn(ctx context.Context) (*manager.Client, *http.Transport, error) {
	transport := m.Host.Transport()
	client, err := manager.SignIn(ctx, m.URL, transport)
	return client, transport, err
}

// Darter runs the program darter on the manager's host as a client of it, and returns
// what it printed; stdin may be "".
func (m *Manager) Darter(ctx context.Context, token, stdin string, args ...string) (string, error) {
	cmd := m.Host.Command(ctx, append([]string{m.cluster.programs.path("darter")}, args...)...)
	cmd.Env = append(cmd.Environ(), "DARTER_MANAGER="+m.URL, "DARTER_TOKEN="+token)
	cmd.Stdin = strings.NewReader(stdin)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("darter %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(complaints.String()))
	}
	return out.String(), nil
}
