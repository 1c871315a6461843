package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	darterdv1 "github.com/darter-p2p/darter/api/darterd/v1"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/internal/process"
)

func TestMain(m *testing.M) {
	flag.Bool("update", false, "write the golden files")
	goleak.VerifyTestMain(m)
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s (go test -update writes it): %v\ngot\n%s", path, err, got)
	}
}

var now = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

const (
	layer1 = "sha256:1111111111112222222222223333333333334444444444445555555555556666"
	layer2 = "url:aaaaaaaaaaaabbbbbbbbbbbbccccccccccccddddddddddddeeeeeeeeeeeeffff"
)

func status() darterdv1.Status {
	return darterdv1.Status{
		Version: "v1.2.3", Host: "node1", Cluster: "demo", Role: "node", Address: "10.0.0.1:65002", Zone: "z1",
		Started: now.Add(-26 * time.Hour), Ready: true, CertificateExpires: now.Add(40 * 24 * time.Hour),
		Schedulers: []darterdv1.Scheduler{
			{Address: "10.0.0.9:8002", Name: "sched1", State: darterdv1.SchedulerConnected, Since: now.Add(-90 * time.Minute)},
			{Address: "10.0.0.8:8002", State: darterdv1.SchedulerDown, Since: now.Add(-4 * time.Second), Error: "connection refused\x1b[31m"},
		},
		Links: 16, Tasks: darterdv1.TaskCounts{Held: 12, Complete: 10, Active: 1},
		Store:    darterdv1.Store{Dir: "/var/lib/darter", Reserved: 5 << 30, Quota: 20 << 30, DiskFree: 300 << 30, Floor: 30 << 30},
		Bytes:    darterdv1.Sources{FromPeers: 900 << 20, FromSeed: 99 << 20, FromOrigin: 1},
		Uploaded: 1020 << 20,
	}
}

func explanation() darterdv1.Explanation {
	yes, no := true, false
	return darterdv1.Explanation{
		What: "nginx", Image: "docker.io/library/nginx:latest",
		Tasks: []darterdv1.Explain{{
			Task: layer1, Origin: "oci://docker.io/library/nginx/blobs/" + layer1, Size: 512 << 20, PieceLength: 1 << 20, Pieces: 512, PiecesHeld: 512,
			Held: 512 << 20, State: darterdv1.TaskComplete, DigestOK: &yes, Final: true, SignedBy: []string{"seed1"},
			Bytes: darterdv1.Sources{FromPeers: 400 << 20, FromSeed: 112 << 20}, Uploaded: 480 << 20, Pins: []string{"preheat"},
			Neighbours: []darterdv1.Neighbour{
				{Host: "seed1", Address: "10.0.0.5:65006", Seed: true, Linked: true, Bytes: 112 << 20, Pieces: 112, Rate: 12.5e6},
				{Host: "node2", Address: "10.0.0.2:65002", Bytes: 400 << 20, Pieces: 400, Failures: 2, Rate: 118e6, Uploaded: 480 << 20},
			},
			Refused: []darterdv1.Refused{
				{Host: "node3", Reason: "piece 7 is not of its digest", Banned: true, At: now},
				{Host: "node4", Reason: "unreachable", Until: now.Add(time.Minute)},
			},
			Timing: darterdv1.Timing{Started: now, FirstByte: now.Add(35 * time.Millisecond), Completed: now.Add(4200 * time.Millisecond)},
		}, {
			Task: layer2, Size: -1, PieceLength: 1 << 20, State: darterdv1.TaskFailed, Error: "origin: 503", DigestOK: &no, Readers: 1,
		}},
	}
}

func TestTables(t *testing.T) {
	waiting := darterdv1.Status{Host: "node1", Cluster: "demo", Role: "seed", Version: "v1", Started: now, CertificateExpires: now.Add(-time.Hour), Store: darterdv1.Store{Dir: "/d"}}
	single := explanation()
	single.Image, single.Tasks = "", single.Tasks[:1]
	tasks := darterdv1.Tasks{Tasks: []darterdv1.Task{
		{Task: layer1, Origin: "oci://docker.io/library/nginx/blobs/" + layer1, Size: 512 << 20, Held: 512 << 20, State: "complete", Used: now.Add(-time.Minute), Bytes: darterdv1.Sources{FromPeers: 2, FromSeed: 1}},
		{Task: layer2, Size: 1000, Held: 1, State: "active", Bytes: darterdv1.Sources{FromOrigin: 1}},
	}}
	for name, print := range map[string]func(io.Writer){
		"status.txt":       func(w io.Writer) { printStatus(w, status(), now) },
		"status_start.txt": func(w io.Writer) { printStatus(w, waiting, now) },
		"tasks.txt":        func(w io.Writer) { printTasks(w, tasks, now) },
		"tasks_none.txt":   func(w io.Writer) { printTasks(w, darterdv1.Tasks{}, now) },
		"explain.txt":      func(w io.Writer) { printExplanation(w, single) },
		"explain_image.txt": func(w io.Writer) {
			printExplanation(w, explanation())
		},
	} {
		var out bytes.Buffer
		print(&out)
		golden(t, name, out.Bytes())
		if bytes.ContainsRune(out.Bytes(), '\x1b') {
			t.Errorf("%s drives the terminal", name)
		}
	}
}

func TestNumbers(t *testing.T) {
	for got, want := range map[string]string{
		size(0): "0 B", size(1023): "1023 B", size(1024): "1.0 KiB", size(150 << 20): "150 MiB", size(1<<30 - 1): "1.0 GiB", size(-1): "?",
		rate(0): "-", rate(125): "1.0 kbit/s", rate(118e6): "944 Mbit/s",
		share(0, 0): "-", share(0, 5): "0%", share(5, 5): "100%", share(1, 100000): "<0.1%", share(99999, 100000): ">99.9%", share(1, 3): "33.3%",
		span(1500 * time.Microsecond): "2ms", span(4321 * time.Millisecond): "4.3s", span(3661 * time.Second): "1h1m", span(50 * time.Hour): "2d2h", span(-1): "0s",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// runProgram runs the program as main does.
func runProgram(args ...string) (out string, code int, err error) {
	var stdout, stderr bytes.Buffer
	err = command(&stdout, &stderr, args).Execute()
	return stdout.String(), exitCode(err), err
}

// darterd is one that answers as it is told, on a Unix socket.
func darterd(t *testing.T, h http.HandlerFunc) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	s := http.Server{Handler: h}
	l := must(listenUnix(socket))(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return socket
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func TestAsksDarterd(t *testing.T) {
	socket := darterd(t, func(w http.ResponseWriter, r *http.Request) {
		switch what := r.URL.Query().Get(darterdv1.WhatParam); {
		case r.Method == http.MethodGet && r.URL.Path == darterdv1.StatusPath:
			answer(w, status())
		case r.URL.Path == darterdv1.TasksPath:
			answer(w, darterdv1.Tasks{})
		case what == "docker.io/library/nginx:a&b":
			answer(w, explanation())
		case what == "text":
			fmt.Fprint(w, "<html>")
		case what == "bad":
			w.WriteHeader(http.StatusBadRequest)
			answer(w, darterdv1.Error{Message: "neither a digest nor an image"})
		case what == "starting":
			w.WriteHeader(http.StatusServiceUnavailable)
		case what == "broken":
			w.WriteHeader(http.StatusInternalServerError)
		default:
			w.WriteHeader(http.StatusNotFound)
			answer(w, darterdv1.Error{Message: "this node knows no " + what})
		}
	})
	for _, test := range []struct {
		args []string
		code int
		say  string // in the output, or in the error
	}{
		{[]string{"status"}, 0, "node1 (node of cluster demo)"},
		{[]string{"tasks"}, 0, "no tasks"},
		{[]string{"explain", "docker.io/library/nginx:a&b"}, 0, "NEIGHBOUR"},
		{[]string{"status", "--format", "json"}, 0, `"host":"node1"`},
		{[]string{"status", "--format", "xml"}, 2, "want table or json"},
		{[]string{"explain", "unknown"}, 4, "this node knows no unknown"},
		{[]string{"explain", "bad"}, 2, "neither a digest"},
		{[]string{"explain", "starting"}, 3, "503"},
		{[]string{"explain", "broken"}, 1, "500"},
		{[]string{"explain", "text"}, 1, "does not speak JSON"},
	} {
		out, code, err := runProgram(append(test.args, "--socket", socket)...)
		if code != test.code || !strings.Contains(out+fmt.Sprint(err), test.say) {
			t.Errorf("%q: exit %d, want %d and %q\n%s%v", test.args, code, test.code, test.say, out, err)
		}
	}
	out, _, _ := runProgram("explain", "--socket", socket, "--format", "json", "docker.io/library/nginx:a&b")
	var e darterdv1.Explanation
	if err := json.Unmarshal([]byte(out), &e); err != nil || len(e.Tasks) != 2 || e.Tasks[0].Neighbours[1].Rate != 118e6 {
		t.Errorf("%v in %s", err, out)
	}
}

func TestDarterdIsNotRunning(t *testing.T) {
	dir := t.TempDir()
	dead := filepath.Join(dir, "dead")
	l := must(listenUnix(dead))(t)
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	for socket, say := range map[string]string{filepath.Join(dir, "none"): "systemctl start darterd", dead: "journalctl -u darterd"} {
		out, code, err := runProgram("status", "--socket", socket)
		if code != process.ExitUnavailable || out != "" || !strings.Contains(err.Error(), "darterd is not running") || !strings.Contains(err.Error(), say) {
			t.Errorf("exit %d, %q, %v", code, out, err)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		{}, {"frobnicate"}, {"status", "x"}, {"status", "--no-such-flag"}, {"explain"}, {"explain", "a", "b"}, {"ca"}, {"ca", "make"},
		{"ca", "init"}, {"ca", "init", "--cluster", "c"}, {"ca", "init", "--cluster", "c", "--dir", "d", "--days", "0"}, {"ca", "init", "--cluster", "UPPER", "--dir", "d"},
		{"ca", "issue", "--dir", "d", "--role", "king", "--name", "a"}, {"ca", "issue", "--dir", "d", "--role", "node", "--name", "a", "--ip", "x"},
	} {
		if _, code, err := runProgram(args...); code != process.ExitUsage {
			t.Errorf("%q: exit %d, %v", args, code, err)
		}
	}
	out, code, err := runProgram("--version")
	if code != 0 || !strings.HasPrefix(out, "darter ") || strings.Count(out, "\n") != 1 {
		t.Errorf("%q, %v", out, err)
	}
}

func TestCA(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	steps := []struct {
		args string
		code int
		say  string
	}{
		{"ca issue --role node --name n1 --dir " + dir, 4, "darter ca init"},
		{"ca init --cluster demo --dir " + dir, 0, "CA of cluster demo"},
		{"ca init --cluster demo --dir " + dir, 1, "exists already"},
		{"ca issue --role node --name n1 --dir " + dir, 0, "spiffe://demo/darter/node/n1"},
		{"ca issue --role node --name n1 --days 10 --dir " + dir, 0, "valid until"},
		{"ca issue --role seed --name n1 --dir " + dir, 1, "another identity"},
		{"ca issue --role scheduler --name s1 --dns a.example,b.example --ip 10.0.0.1 --ip ::1 --dir " + dir, 0, "s1.key"},
	}
	for _, step := range steps {
		out, code, err := runProgram(strings.Fields(step.args)...)
		if code != step.code || !strings.Contains(out+fmt.Sprint(err), step.say) {
			t.Errorf("%s: exit %d, want %d and %q\n%s%v", step.args, code, step.code, step.say, out, err)
		}
	}
	load := func(name string) *pki.Identity {
		return must(pki.Load(pki.Files{CA: filepath.Join(dir, "ca.crt"), Cert: filepath.Join(dir, name+".crt"), Key: filepath.Join(dir, name+".key")}))(t)
	}
	if n := load("n1"); n.Name() != (pki.Name{Cluster: "demo", Role: pki.Node, Name: "n1"}) || time.Until(n.Expires()) > 11*day {
		t.Errorf("%v until %v", n.Name(), n.Expires())
	}
	_, cert := load("s1").Signer()
	if len(cert.DNSNames) != 2 || len(cert.IPAddresses) != 2 {
		t.Errorf("%v %v", cert.DNSNames, cert.IPAddresses)
	}
}

func listenUnix(path string) (*net.UnixListener, error) {
	return net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
}
