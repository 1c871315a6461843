package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/darter-p2p/darter/manager/access"
	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/model"
	"github.com/darter-p2p/darter/manager/rest"
)

const rootPassword = "correct horse battery"

// realManager is the manager's REST over a database of its own, and a person's home.
type realManager struct {
	*httptest.Server
	t     *testing.T
	store *database.Store
	guard *access.Guard
	now   time.Time
}

func newManager(t *testing.T) *realManager {
	t.Helper()
	c := database.Default()
	c.Path = filepath.Join(t.TempDir(), "manager.db")
	store, err := database.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	m := &realManager{t: t, store: store, now: time.Now()}
	clock := func() time.Time { return m.now }
	m.guard = access.New(access.Config{Cost: access.Cost{MemoryKiB: 8, Passes: 1}}, store, clock)
	if _, _, err := m.guard.FirstAdministrator(t.Context(), rootPassword); err != nil {
		t.Fatal(err)
	}
	api, err := rest.New(rest.Config{Store: store, Guard: m.guard, Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	m.Server = httptest.NewServer(api)
	t.Cleanup(func() {
		m.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv(managerVariable, "")
	t.Setenv(tokenVariable, "")
	return m
}

// run runs darter with what stands on its standard input.
func (m *realManager) run(stdin string, args ...string) (out, notes string, code int) {
	m.t.Helper()
	var stdout, stderr bytes.Buffer
	c := command(&stdout, &stderr, args)
	c.SetIn(strings.NewReader(stdin))
	err := c.ExecuteContext(m.t.Context())
	if err != nil {
		fmt.Fprint(&stderr, err)
	}
	return stdout.String(), stderr.String(), exitCode(err)
}

// ok runs darter, which must succeed and say some words.
func (m *realManager) ok(args []string, words ...string) string {
	m.t.Helper()
	out, notes, code := m.run("", args...)
	if code != 0 {
		m.t.Fatalf("darter %v: %d %s", args, code, notes)
	}
	for _, w := range words {
		if !strings.Contains(out, w) {
			m.t.Errorf("darter %v: no %q in\n%s", args, w, out)
		}
	}
	return out
}

// refused runs darter, which must fail with a code and say some words.
func (m *realManager) refused(code int, args []string, words ...string) {
	m.t.Helper()
	_, notes, got := m.run("", args...)
	if got != code {
		m.t.Errorf("darter %v: exit code %d, want %d: %s", args, got, code, notes)
	}
	for _, w := range words {
		if !strings.Contains(notes, w) {
			m.t.Errorf("darter %v: no %q in %q", args, w, notes)
		}
	}
}

func (m *realManager) signIn() {
	m.t.Helper()
	if out, notes, code := m.run(rootPassword+"\n", "login", m.URL+"/"); code != 0 {
		m.t.Fatalf("%d %s %s", code, out, notes)
	}
}

func TestLogin(t *testing.T) {
	m := newManager(t)
	m.refused(2, []string{"cluster", "list"}, "darter login URL")
	m.refused(5, []string{"cluster", "list", "--manager", m.URL}, "not signed in at "+m.URL, "darter login "+m.URL, tokenVariable)
	if _, notes, code := m.run("wrong\n", "login", m.URL); code != 5 || !strings.Contains(notes, "wrong name or password") {
		t.Errorf("%d %s", code, notes)
	}
	m.refused(2, []string{"login", m.URL}, "no line with the password")
	m.refused(2, []string{"login", "manager.example"}, "want a URL")

	out, notes, code := m.run(rootPassword+"\n", "login", m.URL+"/", "--life", "1h")
	if code != 0 || notes != "" || !strings.Contains(out, "Signed in at "+m.URL+" as root until") {
		t.Fatalf("%d %s %s", code, out, notes)
	}
	path, err := credentialsPath()
	if err != nil {
		t.Fatal(err)
	}
	if s, err := os.Stat(path); err != nil || s.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", s, err)
	}
	kept, err := readCredentials()
	if err != nil || strings.Contains(out, kept.Token) || strings.Contains(out, rootPassword) {
		t.Errorf("the secret is shown: %s %v", out, err)
	}
	m.ok([]string{"login"}, m.URL+" as root (root), by the token login-")
	m.ok([]string{"job", "list"}, "JOB")

	// The token goes to its own manager only.
	var shown string
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown = r.Header.Get("Authorization") + r.Header.Get("Cookie")
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer other.Close()
	m.refused(5, []string{"cluster", "list", "--manager", other.URL}, "not signed in at "+other.URL)
	if shown != "" {
		t.Errorf("another manager was shown %q", shown)
	}
	// What the environment says goes first.
	t.Setenv(tokenVariable, "dat_nonsense")
	m.refused(5, []string{"cluster", "list"}, "does not take the token")
	t.Setenv(tokenVariable, "")

	m.ok([]string{"logout"})
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("after logout: %v", err)
	}
	if _, err := m.guard.Bearer(t.Context(), kept.Token); err == nil {
		t.Error("the manager still takes the token after logout")
	}

	// By a token that was made elsewhere, and past its end.
	u, err := m.store.UserByName(t.Context(), "root")
	if err != nil {
		t.Fatal(err)
	}
	secret, _, err := m.guard.NewToken(t.Context(), u.ID, "mine", []string{"clusters:read"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, notes, code := m.run(secret+"\n", "login", m.URL, "--token"); code != 0 {
		t.Fatal(code, notes)
	}
	m.refused(5, []string{"cluster", "create", "x"}, "forbidden", "clusters:write")
	m.now = m.now.Add(2 * time.Hour)
	m.refused(5, []string{"cluster", "list"}, "expired", "darter login "+m.URL)
	if _, notes, code := m.run("dat_x\n", "login", m.URL, "--token"); code != 5 {
		t.Errorf("a wrong token: %d %s", code, notes)
	}
	m.Close()
	m.refused(3, []string{"cluster", "list"}, "the manager does not answer")
}

func TestClusterAndNode(t *testing.T) {
	m := newManager(t)
	m.signIn()
	m.ok([]string{"cluster", "create", "berlin", "--cidr", "10.1.0.0/16", "--cidr", "10.2.0.0/16", "--idc", "b1", "--description", "first"}, "berlin", "10.1.0.0/16 10.2.0.0/16 b1")
	m.refused(1, []string{"cluster", "create", "berlin"}, "taken")
	m.refused(2, []string{"cluster", "create", "a b"}, "name")
	m.ok([]string{"cluster", "update", "berlin", "--default", "--cidr", "10.3.0.0/16"}, "10.3.0.0/16 b1", "first", "yes")
	m.ok([]string{"cluster", "create", "berlin2"})
	m.ok([]string{"cluster", "list"}, "berlin2", "first")
	var list []model.Cluster
	if err := json.Unmarshal([]byte(m.ok([]string{"cluster", "list", "--format", "json"})), &list); err != nil || len(list) != 2 || !list[0].Default {
		t.Errorf("%+v %v", list, err)
	}
	for _, one := range []model.Member{
		{Role: model.RoleNode, Name: "node1", ClusterID: 1, IP: "10.3.0.1", Version: "v1"}, {Role: model.RoleSeed, Name: "seed1", ClusterID: 1},
		{Role: model.RoleNode, Name: "node2", ClusterID: 2}, {Role: model.RoleSeed, Name: "node2", ClusterID: 2},
	} {
		if err := m.store.ConnectMember(t.Context(), &one, m.now); err != nil {
			t.Fatal(err)
		}
	}
	m.ok([]string{"cluster", "show", "1"}, "berlin", "nodes", "1, 1 active")
	m.ok([]string{"node", "list"}, "node1", "seed1", "node2", "10.3.0.1")
	if out := m.ok([]string{"node", "list", "--cluster", "berlin", "--role", "node"}); strings.Contains(out, "seed1") || strings.Contains(out, "node2") {
		t.Errorf("filtered: %s", out)
	}
	m.ok([]string{"node", "show", "node1"}, "v1", "active")
	m.refused(2, []string{"node", "show", "node2"}, "--role")
	m.ok([]string{"node", "show", "node2", "--role", "seed", "--format", "json"}, `"role": "seed"`)
	m.refused(4, []string{"node", "show", "node"}, "no node")
	m.refused(4, []string{"cluster", "show", "berli"}, "no cluster")
	m.refused(4, []string{"cluster", "delete", "99"})
	m.refused(1, []string{"cluster", "delete", "berlin"}, "member")
	m.ok([]string{"cluster", "update", "berlin2", "--name", "hamburg"}, "hamburg")
	for _, wrong := range [][]string{{"cluster"}, {"node"}, {"config"}, {"cluster", "create"}, {"node", "list", "--role", "king"}, {"node", "list", "--format", "xml"}, {"login", "--life", "long", m.URL}} {
		m.refused(2, wrong)
	}
}

func TestConfig(t *testing.T) {
	m := newManager(t)
	m.signIn()
	m.ok([]string{"config", "show"}, "nothing is set")
	m.ok([]string{"cluster", "create", "berlin"})
	m.ok([]string{"config", "set", "limits.upload=200Mbit/s", "block.tags=a, b", "--comment", "why"}, "limits.upload", "25000000", `["a","b"]`)
	m.ok([]string{"config", "set", "--cluster", "berlin", "limits.upload=100MiB"}, "cluster 1", "104857600")
	if out := m.ok([]string{"config", "show", "--cluster", "berlin"}, "104857600", `["a","b"]`); strings.Contains(out, "25000000") {
		t.Errorf("of all clusters: %s", out)
	}
	m.ok([]string{"config", "set", "--cluster", "1", "limits.upload="})
	m.ok([]string{"config", "show", "--cluster", "berlin"}, "25000000")
	m.refused(2, []string{"config", "set", "limits.uplaod=5MiB"}, "uplaod")
	m.refused(2, []string{"config", "set", "limits.upload=5"}, "limits.upload")
	m.refused(2, []string{"config", "set", "limits.upload"}, "KEY=VALUE")
	m.refused(2, []string{"config", "set"})
	m.ok([]string{"config", "history"}, "root/login-", "why", "all")
	m.ok([]string{"config", "rollback", "2"}, "version 4 of cluster 1", "104857600")
	m.refused(4, []string{"config", "rollback", "77"})
	m.refused(2, []string{"config", "rollback", "x"})
	m.ok([]string{"config", "show", "--version", "1", "--format", "json"}, `"upload": 25000000`)
	if out, notes, code := m.run(`{"limits":{"download":1152921504606846976}}`, "config", "set", "--file", "-"); code != 2 || !strings.Contains(notes, "1152921504606846976") {
		t.Errorf("a number is not what was written: %d %s %s", code, out, notes)
	}
	if out, notes, code := m.run(`{"limits":{"download":1125899906842624}}`, "config", "set", "--file", "-"); code != 0 || strings.Contains(out, "tags") {
		t.Errorf("%d %s %s", code, out, notes)
	}
	if _, notes, code := m.run(`[]`, "config", "set", "--file", "-"); code != 2 {
		t.Errorf("%d %s", code, notes)
	}
}
