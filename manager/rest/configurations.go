package rest

import (
	"context"
	"net/http"

	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/model"
)

// ConfigurationBody is a new version of a configuration.
type ConfigurationBody struct {
	// ClusterID is the cluster, 0 = all clusters.
	ClusterID int64          `json:"cluster_id"`
	Settings  model.Settings `json:"settings"`
	Comment   string         `json:"comment,omitempty"`
	// BasedOn is the version that the caller changed; the answer is 409 if it is not the
	// newest any more. Absent = whatever there is.
	BasedOn *int64 `json:"based_on,omitempty"`
}

// Effective is what holds in a cluster.
type Effective struct {
	ClusterID int64          `json:"cluster_id"`
	Version   int64          `json:"version"`
	Settings  model.Settings `json:"settings"`
}

func (a *API) configurationRoutes() []route {
	return []route{
		op(http.MethodGet, "/configurations", "listConfigurations", "Lists the versions of configurations, the newest first.", read("configurations"),
			paged(param{name: "cluster_id", doc: "Only those of this cluster; 0 = those of all clusters.", kind: "integer"}),
			func(ctx context.Context, c *call, _ none) (Page[model.Configuration], error) {
				q, err := c.page()
				if err != nil {
					return Page[model.Configuration]{}, err
				}
				c.where(&q, []string{"cluster_id"}, nil)
				q.Newest = true
				rows, total, err := database.List[model.Configuration](ctx, a.Store, q)
				return pageOf(rows, total, q), err
			}),
		op(http.MethodPost, "/configurations", "createConfiguration", "Makes a new version, which is in force at once.", write("configurations"), nil,
			func(ctx context.Context, c *call, in ConfigurationBody) (*model.Configuration, error) {
				m := &model.Configuration{ClusterID: in.ClusterID, Settings: in.Settings, Comment: in.Comment, Author: c.actor.String()}
				if err := m.Validate(); err != nil {
					return nil, err
				}
				based := int64(-1)
				if in.BasedOn != nil {
					based = max(*in.BasedOn, 0)
				}
				return m, a.changed(notThere("cluster_id", m.ClusterID, a.Store.AppendConfiguration(ctx, m, based, a.Now())))
			}),
		op(http.MethodGet, "/configurations/{version}", "getConfiguration", "Returns a version.", read("configurations"), nil,
			func(ctx context.Context, c *call, _ none) (*model.Configuration, error) {
				version, err := c.number("version")
				if err != nil {
					return nil, err
				}
				return database.Get[model.Configuration](ctx, a.Store, version)
			}),
		op(http.MethodPost, "/configurations/{version}/rollback", "rollbackConfiguration",
			"Makes the settings of an earlier version those of a new one.", write("configurations"), nil,
			func(ctx context.Context, c *call, _ none) (*model.Configuration, error) {
				version, err := c.number("version")
				if err != nil {
					return nil, err
				}
				m, err := a.Store.Rollback(ctx, version, c.actor.String(), a.Now())
				return m, a.changed(err)
			}),
		op(http.MethodGet, "/clusters/{id}/configuration", "getEffectiveConfiguration",
			"Returns what holds in a cluster: its own settings over those of all clusters.", read("configurations"), nil,
			func(ctx context.Context, c *call, _ none) (*Effective, error) {
				m, err := byID[model.Cluster](ctx, a, c)
				if err != nil {
					return nil, err
				}
				version, settings, err := a.Store.Effective(ctx, m.ID)
				return &Effective{m.ID, version, settings}, err
			}),
	}
}
