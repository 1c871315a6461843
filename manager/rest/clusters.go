package rest

import (
	"context"
	"fmt"
	"net/http"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/model"
	"github.com/darter-p2p/darter/manager/search"
)

// ClusterBody is what may be said of a cluster.
type ClusterBody struct {
	Name          string       `json:"name"`
	Description   string       `json:"description,omitempty"`
	Scopes        model.Scopes `json:"scopes,omitzero"`
	Default       bool         `json:"is_default,omitempty"`
	JobsPerMinute int64        `json:"jobs_per_minute,omitempty"`
}

func (b ClusterBody) over(c *model.Cluster) *model.Cluster {
	c.Name, c.Description, c.Scopes, c.Default, c.JobsPerMinute = b.Name, b.Description, b.Scopes, b.Default, b.JobsPerMinute
	return c
}

// Found is what a search for a node's cluster says.
type Found struct {
	// Best is the cluster that would serve the node; absent where none would.
	Best *search.Answer  `json:"best,omitempty"`
	All  []search.Answer `json:"all"`
}

func (a *API) clusterRoutes() []route {
	return []route{
		op(http.MethodGet, "/clusters", "listClusters", "Lists clusters.", read("clusters"), paged(searched), a.listClusters),
		op(http.MethodPost, "/clusters", "createCluster", "Makes a cluster.", write("clusters"), nil,
			func(ctx context.Context, _ *call, in ClusterBody) (*model.Cluster, error) {
				c := in.over(&model.Cluster{})
				if err := c.Validate(); err != nil {
					return nil, err
				}
				return c, a.changed(a.Store.CreateCluster(ctx, c, a.Now()))
			}),
		op(http.MethodGet, "/clusters/{id}", "getCluster", "Returns a cluster.", read("clusters"), nil, get[model.Cluster](a)),
		op(http.MethodPut, "/clusters/{id}", "updateCluster", "Writes all of a cluster.", write("clusters"), nil,
			func(ctx context.Context, c *call, in ClusterBody) (*model.Cluster, error) {
				was, err := byID[model.Cluster](ctx, a, c)
				if err != nil {
					return nil, err
				}
				if err := in.over(was).Validate(); err != nil {
					return nil, err
				}
				return was, a.changed(a.Store.UpdateCluster(ctx, was, a.Now()))
			}),
		op(http.MethodDelete, "/clusters/{id}", "deleteCluster", "Deletes a cluster without members, and its configurations.", write("clusters"), nil,
			remove(a, a.Store.DeleteCluster)),
		op(http.MethodGet, "/search", "searchCluster", "Says which cluster serves a node, and why.", read("search"), []param{
			{name: "ip", doc: "The node's address.", kind: "string"},
			{name: "hostname", doc: "The node's host name.", kind: "string"},
			{name: "idc", doc: "The node's zone.", kind: "string"},
			{name: "location", doc: "The node's place, region|zone|rack.", kind: "string"},
			{name: "cluster", doc: "The cluster that the node pins, by name.", kind: "string"},
		}, a.search),
	}
}

func (a *API) listClusters(ctx context.Context, c *call, _ none) (Page[model.Cluster], error) {
	return list[model.Cluster](ctx, a, c, nil, nil)
}

func (a *API) search(ctx context.Context, c *call, _ none) (*Found, error) {
	clusters, _, err := database.List[model.Cluster](ctx, a.Store, database.Query{})
	if err != nil {
		return nil, err
	}
	schedulers, err := a.Store.ActiveSchedulers(ctx)
	if err != nil {
		return nil, err
	}
	candidates := make([]search.Candidate, len(clusters))
	for i, one := range clusters {
		candidates[i] = search.Candidate{Cluster: one, Schedulers: len(schedulers[one.ID])}
	}
	q := c.query
	all, err := search.Rank(search.Query{
		IP: q.Get("ip"), Hostname: q.Get("hostname"), IDC: q.Get("idc"), Location: q.Get("location"), Pin: q.Get("cluster"),
	}, candidates)
	if err != nil {
		return nil, err
	}
	found := &Found{All: all}
	if len(all) > 0 && all[0].Usable {
		found.Best = &all[0]
	}
	return found, nil
}

// changed tells members after a change that succeeded.
func (a *API) changed(err error) error {
	if err == nil {
		a.Changed()
	}
	return err
}

// rows are those that have an identity and are listed.
type rows interface {
	model.Cluster | model.Member | model.Application | model.Configuration | model.Job | model.JobItem |
		model.User | model.AccessToken | model.Provider | model.Audit | model.JoinToken | model.Certificate
}

// list returns the page of rows that the call asks for.
func list[T rows](ctx context.Context, a *API, c *call, integers, texts []string) (Page[T], error) {
	q, err := c.page()
	if err != nil {
		return Page[T]{}, err
	}
	c.where(&q, integers, texts)
	out, total, err := database.List[T](ctx, a.Store, q)
	return pageOf(out, total, q), err
}

// byID returns the row that the path names.
func byID[T rows](ctx context.Context, a *API, c *call) (*T, error) {
	id, err := c.id()
	if err != nil {
		return nil, err
	}
	return database.Get[T](ctx, a.Store, id)
}

// get is the handler that returns a row.
func get[T rows](a *API) func(context.Context, *call, none) (*T, error) {
	return func(ctx context.Context, c *call, _ none) (*T, error) { return byID[T](ctx, a, c) }
}

// remove is the handler that deletes a row.
func remove(a *API, by func(context.Context, int64) error) func(context.Context, *call, none) (none, error) {
	return func(ctx context.Context, c *call, _ none) (none, error) {
		id, err := c.id()
		if err != nil {
			return none{}, err
		}
		return none{}, a.changed(by(ctx, id))
	}
}

// notThere turns a reference of a body to a row that is not there into its fault.
func notThere(field string, id int64, err error) error {
	if errdefs.IsNotFound(err) {
		return fmt.Errorf("%s: no such row %d: %w", field, id, errdefs.ErrInvalidArgument)
	}
	return err
}
