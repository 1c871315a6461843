package manager_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	darterdv1 "github.com/darter-p2p/darter/api/darterd/v1"
	"github.com/darter-p2p/darter/integration/lab"
	"github.com/darter-p2p/darter/integration/manager"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/manager/database"
)

// settled bounds every wait; it matters only where something is wrong.
const settled = 2 * time.Minute

// daemon is one of darter's programs with a configuration of its own.
type daemon struct {
	t            *testing.T
	program, dir string
	args         []string
	cmd          *exec.Cmd
}

func startDaemon(t *testing.T, program, dir, config string) *daemon {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(os.Getenv(lab.BinEnv), program))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, program+".toml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	d := &daemon{t: t, program: path, dir: dir, args: []string{"--config", file}}
	d.start()
	t.Cleanup(d.kill)
	return d
}

func (d *daemon) start() {
	d.t.Helper()
	log, err := os.OpenFile(filepath.Join(d.dir, "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer log.Close()
	d.cmd = exec.Command(d.program, d.args...)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
}

// kill kills it without a warning.
func (d *daemon) kill() {
	if d.cmd == nil {
		return
	}
	_ = d.cmd.Process.Signal(syscall.SIGKILL)
	_ = d.cmd.Wait() // by the signal
	d.cmd = nil
}

func (d *daemon) log() string {
	text, err := os.ReadFile(filepath.Join(d.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// darterd is a node and its control socket.
type darterd struct {
	*daemon
	name   string
	client *http.Client
}

func (n *darterd) get(path string, into any) (int, string) {
	answer, err := n.client.Get("http://darterd" + path)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && into != nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(text)
}

func (n *darterd) status() (s darterdv1.Status) {
	n.get(darterdv1.StatusPath, &s)
	if s.Manager == nil {
		s.Manager = &darterdv1.Manager{}
	}
	return s
}

// blocked reports whether the node refuses a download of an application.
func (n *darterd) blocked(from, application string) bool {
	q := url.Values{darterdv1.URLParam: {from}, darterdv1.ApplicationParam: {application}}
	code, text := n.get(darterdv1.ContentPath+"?"+q.Encode(), nil)
	return code == http.StatusForbidden && strings.Contains(text, "application \\\""+application)
}

// wait waits until ok holds.
func wait(t *testing.T, what string, ok func() bool, show func() string) {
	t.Helper()
	for late := time.Now().Add(settled); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("%s: not in %v\n%s", what, settled, show())
		}
	}
}

// free returns an address that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Real processes: a manager, a scheduler and three nodes, which have the scheduler from
// the manager. Settings come into force on all, go by a rollback, and hold on a node that
// starts anew while the manager is dead. A damaged file of what was set is ignored.
func TestSettingsInForce(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	ca, err := pki.CreateCA("test", time.Now(), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	files := func(role pki.Role, name string) (string, pki.Files) {
		t.Helper()
		at := filepath.Join(dir, name)
		if err := os.Mkdir(at, 0o700); err != nil {
			t.Fatal(err)
		}
		pair, err := ca.Issue(pki.Request{Role: role, Name: name}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		f, err := pair.Write(at)
		if err != nil {
			t.Fatal(err)
		}
		f.CA = filepath.Join(dir, "ca.crt")
		return at, f
	}
	if err := ca.Write(dir); err != nil {
		t.Fatal(err)
	}
	at, id := files(pki.Manager, "m")
	db := database.Default()
	db.Path = filepath.Join(at, "db")
	m, err := manager.Start(ctx, manager.Options{Program: program(t), Dir: at, Identity: id, Database: db})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.End(syscall.SIGKILL) })
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	rest, err := manager.SignIn(ctx, m.URL, transport)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(method, path string, body, into any) {
		t.Helper()
		if err := rest.Ask(ctx, method, path, body, into); err != nil {
			t.Fatal(err)
		}
	}
	var cluster struct {
		ID int64 `json:"id"`
	}
	ask(http.MethodPost, "/clusters", map[string]any{"name": "prod", "scopes": map[string]any{"idcs": []string{"z1"}}}, &cluster)
	tls := func(f pki.Files) string {
		return fmt.Sprintf("[tls]\nca = %q\ncert = %q\nkey = %q\n", f.CA, f.Cert, f.Key)
	}
	to := func(at string) string {
		return fmt.Sprintf("[manager]\naddress = %q\nstate = %q\n", m.Members, filepath.Join(at, "state"))
	}
	at, id = files(pki.Scheduler, "s")
	address := free(t)
	startDaemon(t, "darter-scheduler", at, fmt.Sprintf("listen = %q\nmetrics = \"\"\n[host]\nidc = \"z1\"\n", address)+tls(id)+to(at))
	var nodes []*darterd
	for _, name := range []string{"n1", "n2", "n3"} {
		at, id := files(pki.Node, name)
		socket := filepath.Join(at, "s")
		d := &darterd{name: name, client: &http.Client{Timeout: time.Minute, Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", socket)
			},
		}}}
		d.daemon = startDaemon(t, "darterd", at, fmt.Sprintf(`[host]
idc = "z1"
[peer]
listen = %q
[store]
root = %q
floor = 0
[mirror]
listen = %q
[health]
listen = ""
[metrics]
listen = ""
[control]
socket = %q
[upstream]
allow = ["127.0.0.0/8"]
`, free(t), filepath.Join(at, "pieces"), free(t), socket)+tls(id)+to(at))
		nodes = append(nodes, d)
	}
	show := func() string {
		all := m.LogPath
		for _, n := range nodes {
			all += fmt.Sprintf("\n%s: %+v\n%s", n.name, n.status(), n.log())
		}
		return all
	}
	all := func(what string, ok func(n *darterd, s darterdv1.Status) bool) time.Duration {
		t.Helper()
		begun := time.Now()
		for _, n := range nodes {
			wait(t, n.name+": "+what, func() bool { return ok(n, n.status()) }, show)
		}
		return time.Since(begun)
	}
	all("has the scheduler from the manager", func(_ *darterd, s darterdv1.Status) bool {
		return s.Manager.Cluster == "prod" && s.Manager.Connected && len(s.Manager.Because) > 0 &&
			len(s.Schedulers) == 1 && s.Schedulers[0].Address == address && s.Schedulers[0].State == darterdv1.SchedulerConnected
	})

	type version struct {
		Version int64 `json:"version"`
	}
	set := func(settings map[string]any) (v version) {
		t.Helper()
		ask(http.MethodPost, "/configurations", map[string]any{"cluster_id": cluster.ID, "settings": settings}, &v)
		return v
	}
	rollback := func(to version) (v version) {
		t.Helper()
		ask(http.MethodPost, fmt.Sprintf("/configurations/%d/rollback", to.Version), nil, &v)
		return v
	}
	origin := "http://" + free(t) + "/f" // nobody is there
	inForce := func(quota int64, blocked bool, v version) func(*darterd, darterdv1.Status) bool {
		return func(n *darterd, s darterdv1.Status) bool {
			return s.Manager.Version == v.Version && s.Store.Quota == quota && n.blocked(origin, "crawler") == blocked
		}
	}
	none := set(map[string]any{})
	all("nothing is set", inForce(0, false, none))
	some := set(map[string]any{
		"limits": map[string]any{"upload": 50 << 20}, "disk": map[string]any{"quota": 5 << 30},
		"pieces": map[string]any{"upload_slots": 2}, "swarm": map[string]any{"neighbours": 8},
		"block": map[string]any{"applications": []string{"crawler"}},
	})
	t.Logf("a change was in force on 3 nodes %v after it was answered", all("a change", inForce(5<<30, true, some)))
	back := rollback(none)
	t.Logf("a rollback was in force on 3 nodes %v after it was answered", all("a rollback", inForce(0, false, back)))
	again := rollback(some)
	all("a rollback of it", inForce(5<<30, true, again))
	wait(t, "the members' versions", func() bool {
		var page struct {
			Items []struct {
				ConfigVersion int64 `json:"config_version"`
			} `json:"items"`
		}
		ask(http.MethodGet, "/nodes", nil, &page)
		ok := len(page.Items) == len(nodes)
		for _, one := range page.Items {
			ok = ok && one.ConfigVersion == again.Version
		}
		return ok
	}, show)

	if err := m.End(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	nodes[0].kill()
	nodes[0].start()
	wait(t, "after a restart without the manager", func() bool {
		s := nodes[0].status()
		return s.Manager.Restored && !s.Manager.Connected && inForce(5<<30, true, again)(nodes[0], s) &&
			len(s.Schedulers) == 1 && s.Schedulers[0].State == darterdv1.SchedulerConnected
	}, show)
	nodes[1].kill()
	state := filepath.Join(nodes[1].dir, "state")
	if err := os.WriteFile(state, []byte("darter-manager-state 2 00000000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	nodes[1].start()
	wait(t, "with a file of another version", func() bool {
		s := nodes[1].status()
		return !s.Manager.Restored && inForce(0, false, version{})(nodes[1], s) && strings.Contains(nodes[1].log(), "it has format 2")
	}, show)
}
