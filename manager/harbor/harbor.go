// Package harbor lets Harbor preheat by darter as it does by Dragonfly, with both
// generations of its driver: the old one asks /_ping and /preheats, the new one /healthy
// and Dragonfly's open API, /oapi/v1/jobs and /oapi/v1/clusters. Requests become jobs of
// package jobs; answers tell their states in the words that each driver knows.
//
// Fields that these clients send and darter has no use for are ignored, as Dragonfly does.
package harbor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/darter-p2p/darter/manager/model"
)

// Jobs is what a Handler needs of the manager's jobs.
type Jobs interface {
	// CreateJob makes a job of arguments that Prepare returned. A cluster that has had
	// its jobs of this minute is ErrResourceExhausted.
	CreateJob(ctx context.Context, j *model.Job, now time.Time) error
	CancelJob(ctx context.Context, id int64, now time.Time) error
	Job(ctx context.Context, id int64) (*model.Job, error)
	// Jobs lists the newest preheat jobs first.
	Jobs(ctx context.Context, offset, limit int) ([]model.Job, error)
	Items(ctx context.Context, job int64) ([]model.JobItem, error)
	Clusters(ctx context.Context) ([]model.Cluster, error)
	// Members lists the nodes and seeds of a cluster.
	Members(ctx context.Context, cluster int64) ([]model.Member, error)
}

// Access says who calls.
type Access interface {
	// Allow returns the name of a caller who may do an action (model.Read, model.Write)
	// to an object ("jobs", "clusters"), else ErrUnauthenticated, ErrPermissionDenied or
	// ErrResourceExhausted.
	Allow(r *http.Request, object, action string) (actor string, err error)
}

// Sealer takes the credential out of a job's arguments; *jobs.Sealer is one.
type Sealer interface {
	Prepare(kind string, args json.RawMessage) (json.RawMessage, error)
}

// Config is how Harbor's requests are taken.
type Config struct {
	AllowAnonymous bool `toml:"allow_anonymous" doc:"Take Harbor's preheats without a credential, as Dragonfly's old API did (auth mode NONE). Anybody who reaches the manager can then have nodes pull any image."`
}

// Validate reports every setting that cannot work.
func (Config) Validate() error { return nil }

// Options are what a Handler is given beside its configuration.
type Options struct {
	Jobs   Jobs
	Access Access
	Sealer Sealer
	Wake   func() // after a job was made; nil = nothing
}

// maxBody bounds a request, in bytes.
const maxBody = 1 << 20

// Handler serves Harbor. Make one with New.
type Handler struct {
	cfg Config
	Options
	mux *http.ServeMux
}

// New returns a Handler of the paths that Routes lists.
func New(cfg Config, o Options) *Handler {
	h := &Handler{cfg: cfg, Options: o, mux: http.NewServeMux()}
	if h.Wake == nil {
		h.Wake = func() {}
	}
	for pattern, serve := range h.routes() {
		h.mux.HandleFunc(pattern, serve)
	}
	return h
}

func (h *Handler) routes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"GET /_ping":             alive,
		"GET /healthy":           alive,
		"POST /preheats":         h.answer(h.postPreheat),
		"GET /preheats/{id}":     h.answer(h.getPreheat),
		"POST /oapi/v1/jobs":     h.answer(h.postJob),
		"GET /oapi/v1/jobs":      h.answer(h.listJobs),
		"GET /oapi/v1/jobs/{id}": h.answer(h.getJob),
		"GET /oapi/v1/clusters":  h.answer(h.listClusters),
	}
}

// Routes lists what a Handler serves, as patterns of http.ServeMux.
func (h *Handler) Routes() []string {
	var all []string
	for pattern := range h.routes() {
		all = append(all, pattern)
	}
	return all
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

func alive(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "OK")
}

// answer writes what a handler returns, or its error with the status of its class.
func (h *Handler) answer(serve func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		body, err := serve(r)
		status := http.StatusOK
		if err != nil {
			status = statusOf(err)
			body = map[string]string{"message": err.Error()}
			if status == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", `Basic realm="darter"`)
			}
			if status >= http.StatusInternalServerError {
				log.G(r.Context()).WithError(err).WithField("path", r.URL.Path).Error("a request of Harbor's failed")
				body = map[string]string{"message": http.StatusText(status)}
			}
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body) // a client that left is its own affair
	}
}

// refusal is an error with a status of its own.
type refusal struct {
	status int
	error
}

func statusOf(err error) int {
	var own refusal
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &own):
		return own.status
	case errors.As(err, &large):
		return http.StatusRequestEntityTooLarge
	case errdefs.IsUnauthorized(err):
		return http.StatusUnauthorized
	case errdefs.IsPermissionDenied(err):
		return http.StatusForbidden
	case errdefs.IsNotFound(err):
		return http.StatusNotFound
	case errdefs.IsInvalidArgument(err):
		return http.StatusBadRequest
	case errdefs.IsResourceExhausted(err):
		return http.StatusTooManyRequests
	case errdefs.IsFailedPrecondition(err):
		return http.StatusConflict
	case errdefs.IsUnavailable(err):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// allow returns who calls.
func (h *Handler) allow(r *http.Request, object, action string) (string, error) {
	anonymous := r.Header.Get("Authorization") == "" && r.URL.Query().Get("access_token") == ""
	if anonymous && h.cfg.AllowAnonymous {
		return "harbor", nil
	}
	return h.Access.Allow(r, object, action)
}

// read reads a JSON body; what is not known in it is ignored.
func read(r *http.Request, into any) error {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return refusal{http.StatusUnsupportedMediaType, fmt.Errorf("content type %.60q, want application/json", r.Header.Get("Content-Type"))}
	}
	d := json.NewDecoder(r.Body)
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("body: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if d.More() {
		return fmt.Errorf("body: more than one value: %w", errdefs.ErrInvalidArgument)
	}
	return nil
}

// find returns the job that the path names.
func (h *Handler) find(r *http.Request) (*model.Job, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || id <= 0 {
		return nil, fmt.Errorf("no job %.40q: %w", r.PathValue("id"), errdefs.ErrNotFound)
	}
	return h.Jobs.Job(r.Context(), id)
}
