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
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/manager/access"
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
	// WriteAudit writes down who did what.
	WriteAudit(ctx context.Context, a *model.Audit) error
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
	Made   func(kind string, err error) // after every try to make a job; nil = nothing
}

// maxBody bounds a request, in bytes.
const maxBody = 1 << 20

// Handler serves Harbor. Make one with New.
type Handler struct {
	cfg Config
	Options
	mux     *http.ServeMux
	refused access.Strangers
}

// New returns a Handler of the paths that Operations lists.
func New(cfg Config, o Options) *Handler {
	h := &Handler{cfg: cfg, Options: o, mux: http.NewServeMux()}
	if h.Made == nil {
		h.Made = func(string, error) {}
	}
	for _, r := range table {
		h.mux.HandleFunc(r.Method+" "+r.Path, func(w http.ResponseWriter, q *http.Request) { h.answer(w, q, r) })
	}
	return h
}

// find returns the job that the path names.
func (h *Handler) find(r *call) (*model.Job, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || id <= 0 {
		return nil, fmt.Errorf("no job %.40q: %w", r.PathValue("id"), errdefs.ErrNotFound)
	}
	return h.Jobs.Job(r.Context(), id)
}
