package doctor

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	darterdv1 "github.com/darter-p2p/darter/api/darterd/v1"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/plugin/dropin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// want fails the test unless a finding is of a level, and says some text and what to do.
func want(t *testing.T, f Finding, level Level, text string) {
	t.Helper()
	if f.Level != level || !strings.Contains(f.Found, text) {
		t.Errorf("found %s, want %s: …%s…", f, level, text)
	}
	if (f.Level == Fail || f.Level == Warn) && f.Do == "" {
		t.Errorf("%s: and what to do?", f)
	}
}

func TestDarterd(t *testing.T) {
	f := &facts{statusErr: errors.New("no socket")}
	want(t, f.darterd(t.Context()), Fail, "no socket")
	f = &facts{status: darterdv1.Status{Reason: "opening the store"}}
	want(t, f.darterd(t.Context()), Fail, "opening the store")
	f.status.Ready = true
	want(t, f.darterd(t.Context()), OK, "")
}

func TestScheduler(t *testing.T) {
	f := &facts{status: darterdv1.Status{Schedulers: []darterdv1.Scheduler{{Address: "s1:8002", State: darterdv1.SchedulerDown, Error: "refused"}}}}
	want(t, f.scheduler(t.Context()), Fail, "s1:8002 down refused")
	f.status.Schedulers = append(f.status.Schedulers, darterdv1.Scheduler{Address: "s2:8002", State: darterdv1.SchedulerConnected})
	want(t, f.scheduler(t.Context()), OK, "s2:8002")

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f = &facts{Node: Node{Schedulers: []string{l.Addr().String()}}, statusErr: errors.New("down")}
	want(t, f.scheduler(t.Context()), OK, "can be reached")
	l.Close()
	want(t, f.scheduler(t.Context()), Fail, "refused")
}

func TestCertificate(t *testing.T) {
	now := time.Now()
	ca, err := pki.CreateCA("test", now, 100*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue(pki.Request{Role: pki.Node, Name: "node1", ValidFor: 30 * 24 * time.Hour}, now)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := ca.Write(dir); err != nil {
		t.Fatal(err)
	}
	files, err := pair.Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		now   time.Time
		seed  bool
		files pki.Files
		level Level
		text  string
	}{
		{"good", now, false, files, OK, "node1"},
		{"wrong role", now, true, files, Fail, "configured as seed"},
		{"ends soon", now.Add(25 * 24 * time.Hour), false, files, Warn, "ends at"},
		{"ended", now.Add(31 * 24 * time.Hour), false, files, Fail, "ended at"},
		{"clock", now.Add(-30 * 24 * time.Hour), false, files, Fail, "valid only from"},
		{"missing", now, false, pki.Files{CA: files.CA, Cert: filepath.Join(dir, "x"), Key: files.Key}, Fail, "no such file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := &facts{Node: Node{Now: test.now, Seed: test.seed, TLS: test.files}}
			want(t, f.certificate(t.Context()), test.level, test.text)
		})
	}
}

func TestStore(t *testing.T) {
	dir := t.TempDir()
	kubelet := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(kubelet, []byte("evictionHard:\n  nodefs.available: \"1Gi\"\n  imagefs.available: '2Gi'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := &facts{Node: Node{Kubelet: kubelet}, status: darterdv1.Status{Store: darterdv1.Store{Dir: dir, DiskFree: 10 << 30, Floor: 1 << 30}}}
	want(t, f.store(t.Context()), Warn, "less than 2.0 GiB")
	f.status.Store.Floor = 3 << 30
	want(t, f.store(t.Context()), OK, "more than the kubelet's")
	f.Kubelet = "/none"
	want(t, f.store(t.Context()), OK, "10.0 GiB free")
	f.status.Store.DiskFree = 1 << 30
	want(t, f.store(t.Context()), Fail, "1.0 GiB free")
}

func TestEviction(t *testing.T) {
	for text, least := range map[string]int64{
		"":                 150,
		"evictionHard: {}": 150,
		"evictionHard:\n  nodefs.available: 20%\n  imagefs.available: 5%\n": 200,
		"evictionHard:\n  nodefs.available: 90\n  imagefs.available: 0.1Ki": 102,
		"imagefs.available: 90%": 150,
	} {
		if got := eviction([]byte(text), 1000); got != least {
			t.Errorf("%q: %d, want %d", text, got, least)
		}
	}
}

func TestPorts(t *testing.T) {
	mirror := httptest.NewServer(http.NotFoundHandler())
	defer mirror.Close()
	peer, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &facts{Node: Node{PeerListen: peer.Addr().String()}}
	f.Containerd.Mirror = mirror.URL
	want(t, f.ports(t.Context()), OK, "mirror")
	f.statusErr = errors.New("down")
	want(t, f.ports(t.Context()), Fail, "something else listens")
	peer.Close()
	want(t, f.ports(t.Context()), Fail, "something else answers")
	mirror.Close()
	want(t, f.ports(t.Context()), Skip, "free")
	f.statusErr = nil
	want(t, f.ports(t.Context()), Fail, "mirror does not answer")
}

func TestContainerd(t *testing.T) {
	here := filepath.Join(t.TempDir(), "socket")
	if err := os.WriteFile(here, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for version, level := range map[string]Level{"2.4.2": OK, "1.6.20~ds1": Warn, "1.5.9": Fail, "x": Warn} {
		f := &facts{Node: Node{Address: here}, version: version}
		want(t, f.containerd(t.Context()), level, "version")
	}
	want(t, (&facts{Node: Node{Address: "/none"}, version: "2.4.2"}).containerd(t.Context()), Fail, "does not run")
}

// merged are the facts of a merged configuration.
func merged(t *testing.T, text string) *facts {
	t.Helper()
	m, err := dropin.ParseMerged([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return &facts{Node: Node{Containerd: dropin.Default()}, merged: m, version: "2.4.2"}
}

func TestConfigured(t *testing.T) {
	const entry = "version = 4\n[proxy_plugins.darter]\ntype='snapshot'\naddress='/run/darter/containerd.sock'\n"
	const exports = "[proxy_plugins.darter.exports]\nenable_remote_snapshot_annotations='true'\nroot='/var/lib/darter/snapshots'\n"
	for _, test := range []struct {
		name, text string
		level      Level
		found      string
	}{
		{"none", "version = 4", Fail, "no proxy_plugins.darter"},
		{"good", entry + exports, OK, ""},
		{"address", strings.Replace(entry, "/run/darter", "/run/x", 1), Fail, "/run/x"},
		{"rebase", entry + "capabilities=['rebase']\n" + exports, Fail, "rebase"},
		{"labels", entry, Fail, "annotations"},
		{"root", entry + strings.Replace(exports, "/var/lib", "/srv", 1), Warn, "/srv"},
		{"1.x shows no exports", strings.Replace(entry, "4", "2", 1), OK, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			want(t, merged(t, test.text).pluginConfigured(t.Context()), test.level, test.found)
		})
	}
}

func TestUnpackConfigAndCRI(t *testing.T) {
	const transfer = "version = 4\n[plugins.'io.containerd.transfer.v1.local']\n"
	want(t, merged(t, "version = 4").unpackConfig(t.Context()), Skip, "")
	want(t, merged(t, transfer).unpackConfig(t.Context()), Fail, "darter")
	want(t, merged(t, transfer+"unpack_config = [{snapshotter='stargz'}, {snapshotter='darter'}]").unpackConfig(t.Context()), OK, "stargz, darter")

	const cri = "version = 4\n[plugins.'io.containerd.cri.v1.images']\nuse_local_image_pull = false\ndisable_snapshot_annotations = true\n"
	want(t, merged(t, "version = 4").cri(t.Context()), Skip, "")
	want(t, merged(t, cri+"snapshotter = 'overlayfs'").cri(t.Context()), OK, "overlayfs")
	want(t, merged(t, cri+"snapshotter = 'darter'").cri(t.Context()), OK, "darter")
	want(t, merged(t, cri+"snapshotter = 'darter'\nmax_concurrent_downloads = 9").cri(t.Context()), Fail, "max_concurrent_downloads = 9")
	want(t, merged(t, strings.Replace(cri, "= true", "= false", 1)+"snapshotter = 'darter'").cri(t.Context()), Warn, "disable_snapshot_annotations")
}

func TestMirror(t *testing.T) {
	dir := t.TempDir()
	write := func(host, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, host), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, host, "hosts.toml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text := "version = 4\n[plugins.'io.containerd.cri.v1.images'.registry]\n"
	want(t, merged(t, text).mirror(t.Context()), Fail, "config_path is empty")
	want(t, merged(t, text+"mirrors = {a = {}}").mirror(t.Context()), Fail, "registry.mirrors")
	f := merged(t, text+"config_path = '"+dir+"'")
	want(t, f.mirror(t.Context()), Fail, "_default")
	write("_default", "[host.'http://127.0.0.1:65001']\n")
	want(t, f.mirror(t.Context()), OK, "nerdctl needs --hosts-dir "+dir)
	write("r.example", "server = 'https://r.example'\n")
	want(t, f.mirror(t.Context()), Warn, "r.example")
}

func TestUnits(t *testing.T) {
	want(t, units("LoadState=not-found\n"), Warn, "no unit")
	want(t, units("LoadState=loaded\nUnitFileState=enabled\nBefore=docker.service shutdown.target\n"), Warn, "not ordered")
	want(t, units("LoadState=loaded\nUnitFileState=disabled\nBefore=containerd.service\n"), Warn, "disabled")
	want(t, units("LoadState=loaded\nUnitFileState=enabled\nBefore=docker.service containerd.service\n"), OK, "")
}

// TestExamine has all checks run on a node that has nothing.
func TestExamine(t *testing.T) {
	dir := t.TempDir()
	o := dropin.Default()
	o.Binary, o.Socket, o.Root = filepath.Join(dir, "containerd"), filepath.Join(dir, "s.sock"), filepath.Join(dir, "snapshots")
	o.Mirror = "http://127.0.0.1:1"
	all := Examine(t.Context(), Node{Containerd: o, Address: filepath.Join(dir, "c.sock"), PeerListen: "127.0.0.1:1", Snapshots: true, Now: time.Now(),
		Status: func(context.Context) (darterdv1.Status, error) { return darterdv1.Status{}, errors.New("down") }})
	if len(all) != len(checks()) || Worst(all) != Fail {
		t.Errorf("%d findings, the worst is %s", len(all), Worst(all))
	}
	for _, f := range all {
		if f.Check == "" || f.Found == "" || (f.Level == Fail || f.Level == Warn) && f.Do == "" {
			t.Errorf("incomplete: %+v", f)
		}
	}
}
