package harbor

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/darter-p2p/darter/manager/access"
	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/jobs"
	"github.com/darter-p2p/darter/manager/model"
)

// manager is a Handler over a database of its own, with a user and two tokens.
type manager struct {
	*httptest.Server
	store    *database.Store
	clusters []int64
	writer   string // a token that may make jobs
	reader   string // one that may not
	woken    int
}

const password = "correct-horse-battery-staple"

func start(t *testing.T, cfg Config) *manager {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	c := database.Default()
	c.Path = filepath.Join(t.TempDir(), "manager.db")
	m := &manager{}
	var err error
	m.store, err = database.Open(t.Context(), c)
	must(err)
	t.Cleanup(func() { _ = m.store.Close() })
	now := time.Now()
	for _, name := range []string{"east", "west"} {
		row := &model.Cluster{Name: name, JobsPerMinute: 50}
		must(m.store.CreateCluster(t.Context(), row, now))
		m.clusters = append(m.clusters, row.ID)
	}
	must(m.store.CreateMember(t.Context(), &model.Member{Role: model.RoleSeed, Name: "seed1", ClusterID: m.clusters[0], Hostname: "seed1.example", IP: "10.0.0.1", State: model.Active}, now))
	guard := access.New(access.Config{Cost: access.Cost{MemoryKiB: 8, Passes: 1}}, m.store, time.Now)
	_, _, err = guard.FirstAdministrator(t.Context(), password)
	must(err)
	root, err := m.store.UserByName(t.Context(), "root")
	must(err)
	m.writer, _, err = guard.NewToken(t.Context(), root.ID, "harbor", []string{"jobs:write", "clusters:read"}, time.Hour)
	must(err)
	m.reader, _, err = guard.NewToken(t.Context(), root.ID, "reader", []string{"jobs:read"}, time.Hour)
	must(err)
	seals, err := jobs.NewSealer(nil)
	must(err)
	m.Server = httptest.NewServer(New(cfg, Options{Jobs: Rows{m.store}, Access: Guarded{guard}, Sealer: seals, Made: func(string, error) { m.woken++ }}))
	t.Cleanup(m.Close)
	return m
}

// call is a request as Harbor's client makes it.
func (m *manager) call(t *testing.T, method, path, authorization, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, m.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

func basic(name, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))
}

// image is Harbor's preheat image, the old driver's body.
const image = `{"type":"image","url":"https://harbor.test/v2/library/nginx/manifests/1.27",
	"headers":{"Authorization":"Bearer cHVsbA.robot.token"},"image":"library/nginx","tag":"1.27",
	"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","scope":"%s","extra_attrs":%s}`

// claim has a job run as a worker would.
func (m *manager) claim(t *testing.T) *model.Job {
	t.Helper()
	j, err := m.store.ClaimJob(t.Context(), "worker", time.Now(), time.Minute)
	if err != nil || j == nil {
		t.Fatal(j, err)
	}
	return j
}

// finish has a job that runs end.
func (m *manager) finish(t *testing.T, j *model.Job, state model.JobState, words string, items ...model.JobItem) {
	t.Helper()
	if err := m.store.PutItems(t.Context(), j, items, time.Now()); err != nil {
		t.Fatal(err)
	}
	j.State, j.Error = state, words
	if err := m.store.FinishJob(t.Context(), j, time.Now()); err != nil {
		t.Fatal(err)
	}
}

// modes are Harbor's modes of authentication.
var modes = map[string]struct {
	cfg           Config
	authorization func(m *manager) string
}{
	"none":           {Config{AllowAnonymous: true}, func(*manager) string { return "" }},
	"basic":          {Config{}, func(*manager) string { return basic("root", password) }},
	"basic, a token": {Config{}, func(m *manager) string { return basic("root", m.writer) }},
	"bearer":         {Config{}, func(m *manager) string { return "Bearer " + m.writer }},
}

// TestOldDriver replays the driver of Harbor 2.0 to 2.11: ping, preheat, and its status
// from the beginning to each end, in all its modes of authentication.
func TestOldDriver(t *testing.T) {
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			m := start(t, mode.cfg)
			who := mode.authorization(m)
			if code, _ := m.call(t, "GET", "/_ping", "", ""); code != http.StatusOK {
				t.Errorf("ping: %d", code)
			}
			one := fmt.Sprintf(`{"cluster_ids":[%d]}`, m.clusters[0])
			status := func(id string) (s oldStatus) {
				code, body := m.call(t, "GET", "/preheats/"+id, who, "")
				if err := json.Unmarshal([]byte(body), &s); code != http.StatusOK || err != nil {
					t.Fatal(code, body, err)
				}
				return s
			}
			for _, end := range []struct {
				state model.JobState
				words string
				want  string
			}{
				{model.Succeeded, "", "SUCCESS"}, {model.Failed, "seed1: manifest unknown", "FAILED"}, {model.Cancelled, "", "FAILED"},
			} {
				code, body := m.call(t, "POST", "/preheats", who, fmt.Sprintf(image, "single_peer", one))
				var made struct{ ID string }
				if err := json.Unmarshal([]byte(body), &made); code != http.StatusOK || err != nil || made.ID == "" {
					t.Fatal(code, body, err)
				}
				if s := status(made.ID); s.Status != "WAITING" || s.ID != made.ID || s.FinishTime != "" {
					t.Errorf("%+v", s)
				}
				j := m.claim(t)
				if s := status(made.ID); s.Status != "RUNNING" || s.FinishTime != "" {
					t.Errorf("%+v", s)
				}
				m.finish(t, j, end.state, end.words)
				s := status(made.ID)
				words := end.words
				if end.state == model.Cancelled {
					words = "the job was cancelled"
				}
				if _, err := time.Parse(time.RFC3339, s.FinishTime); s.Status != end.want || s.ErrorMsg != words || err != nil {
					t.Errorf("%+v, want %s", s, end.want)
				}
			}
			if m.woken != 3 {
				t.Errorf("the worker was woken %d times", m.woken)
			}
		})
	}
}

// TestNewDriver replays the driver of Harbor 2.12 and later in all its modes of
// authentication: health, a job for two clusters, and its state with a table of contents.
func TestNewDriver(t *testing.T) {
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			m := start(t, mode.cfg)
			testNewDriver(t, m, mode.authorization(m))
		})
	}
}

func testNewDriver(t *testing.T, m *manager, who string) {
	if code, _ := m.call(t, "GET", "/healthy", "", ""); code != http.StatusOK {
		t.Errorf("healthy: %d", code)
	}
	request := fmt.Sprintf(`{"type":"preheat","args":{"type":"image","url":"https://harbor.test/v2/library/nginx/manifests/1.27",
		"tag":"","filtered_query_params":"","headers":{"Authorization":"Bearer cHVsbA.robot.token"},"scope":"all_seed_peers","concurrent_count":0,"timeout":0},
		"scheduler_cluster_ids":[%d,%d]}`, m.clusters[0], m.clusters[1])
	code, body := m.call(t, "POST", "/oapi/v1/jobs", who, request)
	var made job
	if err := json.Unmarshal([]byte(body), &made); code != http.StatusOK || err != nil || made.ID == 0 || made.State != "PENDING" || made.CreatedAt.IsZero() {
		t.Fatal(code, body, err)
	}
	if strings.Contains(body, "robot") {
		t.Error("the credential is shown")
	}
	layer := "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	state := func() (j job) {
		code, body := m.call(t, "GET", fmt.Sprintf("/oapi/v1/jobs/%d", made.ID), who, "")
		if err := json.Unmarshal([]byte(body), &j); code != http.StatusOK || err != nil {
			t.Fatal(code, body, err)
		}
		return j
	}
	first := m.claim(t)
	if j := state(); j.State != "PENDING" {
		t.Errorf("while it runs: %+v", j)
	}
	m.finish(t, first, model.Succeeded, "")
	if j := state(); j.State != "PENDING" {
		t.Errorf("one of two clusters has ended: %+v", j)
	}
	m.finish(t, m.claim(t), model.Failed, "1 of 2 items failed", model.JobItem{Member: "seed1", Content: layer, State: model.Succeeded},
		model.JobItem{Member: "seed2", Content: layer, State: model.Failed, Error: "no space"})
	j := state()
	if j.State != "FAILURE" || len(j.Result.JobStates) != 2 {
		t.Fatalf("%+v", j)
	}
	var ok, bad []task
	for _, s := range j.Result.JobStates {
		for _, r := range s.Results {
			ok, bad = append(ok, r.SuccessTasks...), append(bad, r.FailureTasks...)
		}
	}
	url := "https://harbor.test/v2/library/nginx/blobs/" + layer
	if len(ok) != 1 || ok[0] != (task{URL: url, Hostname: "seed1.example", IP: "10.0.0.1"}) {
		t.Errorf("%+v", ok)
	}
	if len(bad) != 1 || bad[0] != (task{URL: url, Hostname: "seed2", Description: "no space"}) {
		t.Errorf("%+v", bad)
	}
	if code, body := m.call(t, "GET", "/oapi/v1/jobs?access_token="+m.writer+"&page=1&per_page=5", "", ""); code != http.StatusOK || !strings.Contains(body, `"FAILURE"`) {
		t.Error(code, body)
	}
	if code, body := m.call(t, "GET", "/oapi/v1/clusters", who, ""); code != http.StatusOK || !strings.Contains(body, `"east"`) {
		t.Error(code, body)
	}
}

// TestRefusals asks for what cannot be, and looks that nothing was made.
func TestRefusals(t *testing.T) {
	m := start(t, Config{})
	who := "Bearer " + m.writer
	fine := fmt.Sprintf(image, "", "{}")
	for _, c := range []struct {
		name, method, path, authorization, body string
		want                                    int
	}{
		{"nobody", "POST", "/preheats", "", fine, 401},
		{"a wrong password", "POST", "/preheats", basic("root", "wrong"), fine, 401},
		{"a wrong token", "POST", "/preheats", "Bearer dart_0000", fine, 401},
		{"a token for reading", "POST", "/preheats", "Bearer " + m.reader, fine, 403},
		{"a token for reading, new", "POST", "/oapi/v1/jobs", "Bearer " + m.reader, `{"type":"preheat"}`, 403},
		{"a token without clusters", "GET", "/oapi/v1/clusters", "Bearer " + m.reader, "", 403},
		{"nobody reads", "GET", "/preheats/1", "", "", 401},
		{"no JSON", "POST", "/preheats", who, `{"type"`, 400},
		{"no image", "POST", "/preheats", who, `{"type":"image","url":"https://h/"}`, 400},
		{"no type", "POST", "/oapi/v1/jobs", who, `{"type":"delete","args":{}}`, 400},
		{"no such cluster", "POST", "/preheats", who, fmt.Sprintf(image, "", `{"cluster_ids":[999]}`), 400},
		{"a credential with a line", "POST", "/preheats", who, `{"type":"image","url":"https://h.test/v2/a/manifests/1","headers":{"authorization":"x\r\nHost: y"}}`, 400},
		{"a large body", "POST", "/preheats", who, `{"type":"` + strings.Repeat("a", 10<<20) + `"}`, 413},
		{"no such job", "GET", "/preheats/99", who, "", 404},
		{"no number", "GET", "/oapi/v1/jobs/1'%20OR%201=1", who, "", 404},
		{"a bad page", "GET", "/oapi/v1/jobs?per_page=100000", who, "", 400},
	} {
		if code, body := m.call(t, c.method, c.path, c.authorization, c.body); code != c.want {
			t.Errorf("%s: %d %s, want %d", c.name, code, body, c.want)
		}
	}
	r, _ := http.NewRequestWithContext(t.Context(), "POST", m.URL+"/preheats", strings.NewReader(fine))
	r.Header.Set("Authorization", who)
	r.Header.Set("Content-Type", "text/plain")
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("content type: %d", resp.StatusCode)
	}
	if _, total, err := database.List[model.Job](t.Context(), m.store, database.Query{}); err != nil || total != 0 {
		t.Errorf("%d jobs were made, %v", total, err)
	}
}

// TestRate makes more jobs than a cluster may have in a minute.
func TestRate(t *testing.T) {
	m := start(t, Config{AllowAnonymous: true})
	c, err := m.store.ClusterByName(t.Context(), "west")
	if err != nil {
		t.Fatal(err)
	}
	c.JobsPerMinute = 2
	if err := m.store.UpdateCluster(t.Context(), c, time.Now()); err != nil {
		t.Fatal(err)
	}
	var last int
	for range 3 {
		last, _ = m.call(t, "POST", "/preheats", "", fmt.Sprintf(image, "", "{}"))
	}
	if last != http.StatusTooManyRequests {
		t.Errorf("%d, want 429", last)
	}
	// What was made for the other cluster of the request that failed does not run.
	running := 0
	all, _, err := database.List[model.Job](t.Context(), m.store, database.Query{})
	for _, j := range all {
		if j.State == model.Waiting {
			running++
		}
	}
	if running != 4 || err != nil {
		t.Errorf("%d jobs wait, want 4: %v", running, err)
	}
}

// FuzzBodies sends bodies to both generations' doors: no answer may be a 500.
func FuzzBodies(f *testing.F) {
	f.Add("/preheats", fmt.Sprintf(image, "", `{"cluster_ids":[1,"x",-1]}`))
	f.Add("/oapi/v1/jobs", `{"type":"preheat","args":{"type":"file","url":"https://x/y","timeout":-1},"scheduler_cluster_ids":[1]}`)
	seals, _ := jobs.NewSealer(nil)
	h := New(Config{AllowAnonymous: true}, Options{Jobs: nothing{}, Sealer: seals})
	f.Fuzz(func(t *testing.T, path, body string) {
		if path != "/preheats" {
			path = "/oapi/v1/jobs"
		}
		r := httptest.NewRequest("POST", path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	})
}
