package rest_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/darter-p2p/darter/manager/access"
	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/database/databasetest"
	"github.com/darter-p2p/darter/manager/harbor"
	"github.com/darter-p2p/darter/manager/jobs"
	"github.com/darter-p2p/darter/manager/model"
	"github.com/darter-p2p/darter/manager/problem"
	"github.com/darter-p2p/darter/manager/rest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const password = "correct horse battery"

// cheap is a cost that tests can pay many times.
var cheap = access.Config{Cost: access.Cost{MemoryKiB: 8, Passes: 1}}

// world is an API over an empty database, with the user root and its document.
type world struct {
	*rest.API
	handler http.Handler // the API, and Harbor's paths beside it
	harbor  *harbor.Handler
	rows    *sql.DB // the database's own tables
	t       testing.TB
	store   *database.Store
	guard   *access.Guard
	now     time.Time
	changes int
	root    string // a token that may everything
	doc     *openapi3.T
	router  routers.Router
	done    map[string]bool // operations that succeeded
}

func newWorld(t testing.TB) *world {
	t.Helper()
	config := databasetest.SQLite(t)
	store, err := database.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{t: t, store: store, now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC), done: map[string]bool{}}
	clock := func() time.Time { return w.now }
	w.guard = access.New(cheap, store, clock)
	if _, _, err := w.guard.FirstAdministrator(t.Context(), password); err != nil {
		t.Fatal(err)
	}
	w.API, err = rest.New(rest.Config{
		Authority: newAuthority(t, store, clock),
		Store:     store, Guard: w.guard, Now: clock, Changed: func() { w.changes++ }, Metrics: prometheus.NewRegistry(), URL: base,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.root = w.token(1, "all", time.Hour, "*")
	seals, err := jobs.NewSealer(nil)
	if err != nil {
		t.Fatal(err)
	}
	w.harbor = harbor.New(harbor.Config{}, harbor.Options{Jobs: harbor.Rows{Store: store}, Access: harbor.Guarded{Guard: w.guard}, Sealer: seals})
	mux := http.NewServeMux()
	mux.Handle("/", w.API)
	for _, path := range []string{"/_ping", "/healthy", "/preheats", "/preheats/", "/oapi/v1/"} {
		mux.Handle(path, w.harbor)
	}
	w.handler = problem.Meant(mux)
	if w.rows, err = sql.Open("sqlite", config.Path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.rows.Close(); err != nil {
			t.Error(err)
		}
	})
	text, err := w.Document()
	if err != nil {
		t.Fatal(err)
	}
	if w.doc, err = openapi3.NewLoader().LoadFromData(text); err != nil {
		t.Fatal(err)
	}
	if w.router, err = legacy.NewRouter(w.doc, openapi3.DisableExamplesValidation()); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) token(user int64, name string, life time.Duration, scopes ...string) string {
	w.t.Helper()
	secret, _, err := w.guard.NewToken(w.t.Context(), user, name, scopes, life)
	if err != nil {
		w.t.Fatal(err)
	}
	return secret
}

func (w *world) user(name string, roles ...string) *model.User {
	w.t.Helper()
	hash, err := w.guard.Hash(w.t.Context(), name, password)
	if err != nil {
		w.t.Fatal(err)
	}
	u := &model.User{Name: name, Roles: roles, PasswordHash: hash}
	if err := w.store.CreateUser(w.t.Context(), u, w.now); err != nil {
		w.t.Fatal(err)
	}
	return u
}

// request makes a request with a token and a JSON body, either of which may be "".
func request(method, path, token, body string) *http.Request {
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r := httptest.NewRequestWithContext(context.Background(), method, "http://manager"+path, reader)
	r.RemoteAddr = "192.0.2.1:1234"
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

// do serves a request and checks that the answer is one of the document.
func (w *world) do(r *http.Request) *httptest.ResponseRecorder {
	w.t.Helper()
	operation, params, err := w.router.FindRoute(r)
	answer := httptest.NewRecorder()
	w.handler.ServeHTTP(answer, r)
	if answer.Code >= 400 {
		var p problem.Problem
		if err := json.Unmarshal(answer.Body.Bytes(), &p); err != nil || p.Status != answer.Code ||
			answer.Header().Get("Content-Type") != "application/problem+json" {
			w.t.Errorf("%s %s: status %d without a problem: %v %s", r.Method, r.URL, answer.Code, err, answer.Body)
		}
	}
	if err != nil { // no such route
		if answer.Code < 400 {
			w.t.Errorf("%s %s: status %d, and the document does not know it: %v", r.Method, r.URL, answer.Code, err)
		}
		return answer
	}
	if answer.Code < 400 {
		w.done[operation.Operation.OperationID] = true
	}
	err = openapi3filter.ValidateResponse(r.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: operation},
		Status:                 answer.Code,
		Header:                 answer.Header(),
		Body:                   io.NopCloser(bytes.NewReader(answer.Body.Bytes())),
		Options: &openapi3filter.Options{
			IncludeResponseStatus: true,
			ExcludeResponseBody:   strings.HasPrefix(answer.Header().Get("Content-Type"), "text/html"), // it reads no pages
		},
	})
	if err != nil {
		w.t.Errorf("%s %s: the answer is not one of the document: %v", r.Method, r.URL, err)
	}
	return answer
}

// want does a request of root's and returns the answer's body, read into T.
func want[T any](w *world, status int, method, path, body string) (out T) {
	w.t.Helper()
	answer := w.do(request(method, path, w.root, body))
	if answer.Code != status {
		w.t.Fatalf("%s %s: status %d, want %d: %s", method, path, answer.Code, status, answer.Body)
	}
	if status != http.StatusNoContent {
		if err := json.Unmarshal(answer.Body.Bytes(), &out); err != nil {
			w.t.Fatal(err)
		}
	}
	return out
}

func (w *world) audits() []model.Audit {
	w.t.Helper()
	rows, _, err := database.List[model.Audit](context.Background(), w.store, database.Query{})
	if err != nil {
		w.t.Fatal(err)
	}
	return rows
}
