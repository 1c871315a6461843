package harbor

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/manager/access"
	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/jobs"
	"github.com/darter-p2p/darter/manager/model"
)

// Rows is the Jobs of a database.
type Rows struct{ *database.Store }

// maxItems bounds how much of a job is shown.
const maxItems = 10_000

// Job implements Jobs.
func (r Rows) Job(ctx context.Context, id int64) (*model.Job, error) {
	j, err := database.Get[model.Job](ctx, r.Store, id)
	if err == nil && j.Kind != jobs.Preheat {
		return nil, fmt.Errorf("job %d is no preheat: %w", id, errdefs.ErrNotFound)
	}
	return j, err
}

// Jobs implements Jobs.
func (r Rows) Jobs(ctx context.Context, offset, limit int) ([]model.Job, error) {
	all, _, err := database.List[model.Job](ctx, r.Store, database.Query{Where: map[string]any{"kind": jobs.Preheat}, Newest: true, Offset: offset, Limit: limit})
	return all, err
}

// Items implements Jobs.
func (r Rows) Items(ctx context.Context, job int64) ([]model.JobItem, error) {
	all, _, err := database.List[model.JobItem](ctx, r.Store, database.Query{Where: map[string]any{"job_id": job}, Limit: maxItems})
	return all, err
}

// Clusters implements Jobs.
func (r Rows) Clusters(ctx context.Context) ([]model.Cluster, error) {
	all, _, err := database.List[model.Cluster](ctx, r.Store, database.Query{})
	return all, err
}

// Members implements Jobs.
func (r Rows) Members(ctx context.Context, cluster int64) ([]model.Member, error) {
	all, _, err := database.List[model.Member](ctx, r.Store, database.Query{Where: map[string]any{"cluster_id": cluster}})
	return all, err
}

// Guarded is the Access of the manager's users and their personal access tokens: as
// "Authorization: Bearer", as "?access_token=", or as Basic with the password or, in its
// place, one of the user's tokens.
type Guarded struct{ *access.Guard }

// Allow implements Access.
func (g Guarded) Allow(r *http.Request, object, action string) (string, error) {
	who, err := g.who(r)
	if err != nil {
		return "", err
	}
	return who.String(), g.May(r.Context(), who, object, action, false)
}

func (g Guarded) who(r *http.Request) (*access.Actor, error) {
	if name, password, ok := r.BasicAuth(); ok {
		if who, err := g.Bearer(r.Context(), password); err == nil && who.User.Name == name {
			return who, nil
		}
		return g.Password(r.Context(), name, password, remote(r))
	}
	return g.Bearer(r.Context(), bearer(r))
}

// bearer is the token of a request, "" = none.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "bearer") {
		return strings.TrimSpace(token)
	}
	return r.URL.Query().Get("access_token")
}

// remote is the caller's address.
func remote(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return host
}
