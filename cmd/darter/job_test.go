package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// office is a manager's REST with one job that ends at the third look.
type office struct {
	made  map[string]any
	looks int
	end   string
	error string
	asked []string
}

func (o *office) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.asked = append(o.asked, r.Method+" "+r.URL.Path)
	w.Header().Set("Content-Type", "application/json")
	if r.Header.Get("Authorization") != "Bearer secret" {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"title":"Unauthorized","status":401,"detail":"sign in"}`)
		return
	}
	state := "running"
	switch r.Method + " " + r.URL.Path {
	case "POST /api/v1/jobs":
		_ = json.NewDecoder(r.Body).Decode(&o.made)
		w.WriteHeader(http.StatusCreated)
		state = "waiting"
	case "GET /api/v1/jobs/7":
		if o.looks++; o.looks >= 3 {
			state = o.end
		}
	case "GET /api/v1/jobs/7/items":
		fmt.Fprint(w, `{"items":[{"member":"node1","content":"sha256:ab","state":"succeeded","pieces":3,"verified":3,"bytes":10},
			{"member":"node2\u001b[2J","content":"sha256:ab","state":"failed","error":"no space"}],"total":2}`)
		return
	case "GET /api/v1/jobs":
		fmt.Fprint(w, `{"items":[{"id":7,"kind":"preheat","cluster_id":1,"state":"failed","error":"no space","args":{"image":"r.test/app:1"}}],"total":1}`)
		return
	case "POST /api/v1/jobs/7/cancel":
	default:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"title":"Not Found","status":404,"detail":"no job 9"}`)
		return
	}
	fmt.Fprintf(w, `{"id":7,"kind":"preheat","cluster_id":1,"state":%q,"error":%q,"args":{"image":"r.test/app:1"},"result":{"nodes":2,"contents":1,"bytes":10}}`, state, o.error)
}

// ran is what a command wrote and ended with.
func (o *office) run(t *testing.T, stdin string, args ...string) (out string, code int, err error) {
	t.Helper()
	s := httptest.NewServer(o)
	defer s.Close()
	t.Setenv(managerVariable, s.URL)
	t.Setenv("XDG_CONFIG_HOME", t.TempDir()) // no sign-in of whoever runs the test
	var b bytes.Buffer
	c := command(&b, io.Discard, args)
	c.SetIn(strings.NewReader(stdin))
	err = c.ExecuteContext(t.Context())
	return b.String(), exitCode(err), err
}

func TestPreheat(t *testing.T) {
	t.Setenv(tokenVariable, "secret")
	o := &office{end: "succeeded"}
	out, code, err := o.run(t, "word\n", "preheat", "r.test/app:1", "--scope", "all", "--platform", "linux/amd64", "--pin", "1d", "--user", "ci", "--wait")
	if err != nil || code != 0 || !strings.Contains(out, "3/3") || strings.Contains(out, "\x1b") {
		t.Errorf("%q %d %v", out, code, err)
	}
	args, _ := json.Marshal(o.made["args"])
	const want = `{"authorization":"Basic Y2k6d29yZA==","image":"r.test/app:1","pin_seconds":86400,"platforms":["linux/amd64"],"scope":"all_peers"}`
	if string(args) != want {
		t.Errorf("%s, want %s", args, want)
	}
	o = &office{end: "failed", error: "node2: no space"}
	if out, code, err := o.run(t, "", "preheat", "https://f.test/a", "https://f.test/b", "--wait", "--format", "json"); code != 1 || !strings.Contains(fmt.Sprint(err), "no space") || !json.Valid([]byte(out)) {
		t.Errorf("%q %d %v", out, code, err)
	}
	for _, wrong := range [][]string{
		{"preheat"}, {"preheat", "a", "b"}, {"preheat", "a", "--scope", "some"}, {"preheat", "a", "--pin", "long"}, {"preheat", "a", "--format", "xml"},
		{"preheat", "a", "--manager", "nowhere"}, {"job"}, {"job", "show", "x"},
	} {
		if _, code, err := o.run(t, "", wrong...); code != 2 {
			t.Errorf("%v: %d %v", wrong, code, err)
		}
	}
}

func TestJob(t *testing.T) {
	t.Setenv(tokenVariable, "secret")
	o := &office{end: "failed"}
	if out, _, err := o.run(t, "", "job", "list"); err != nil || !strings.Contains(out, "r.test/app:1") {
		t.Errorf("%q %v", out, err)
	}
	if out, _, err := o.run(t, "", "job", "show", "7"); err != nil || !strings.Contains(out, "node1") {
		t.Errorf("%q %v", out, err)
	}
	if _, _, err := o.run(t, "", "job", "cancel", "7"); err != nil || o.asked[len(o.asked)-1] != "POST /api/v1/jobs/7/cancel" {
		t.Errorf("%v %v", err, o.asked)
	}
	if _, code, err := o.run(t, "", "job", "show", "9"); code != 4 || !strings.Contains(err.Error(), "no job 9") {
		t.Errorf("%d %v", code, err)
	}
	t.Setenv(tokenVariable, "")
	if _, code, err := o.run(t, "", "job", "list"); code != 5 || !strings.Contains(err.Error(), tokenVariable) {
		t.Errorf("%d %v", code, err)
	}
}
