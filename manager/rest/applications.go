package rest

import (
	"context"
	"net/http"

	"github.com/darter-p2p/darter/manager/model"
)

// ApplicationBody is what may be said of an application.
type ApplicationBody struct {
	Name        string              `json:"name"`
	Description string              `json:"description,omitempty"`
	Priority    int64               `json:"priority"`
	URLs        []model.URLPriority `json:"urls,omitempty"`
}

func (b ApplicationBody) over(m *model.Application) *model.Application {
	m.Name, m.Description, m.Priority, m.URLs = b.Name, b.Description, b.Priority, b.URLs
	return m
}

func (a *API) applicationRoutes() []route {
	return []route{
		op(http.MethodGet, "/applications", "listApplications", "Lists applications.", read("applications"), paged(searched),
			func(ctx context.Context, c *call, _ none) (Page[model.Application], error) {
				return list[model.Application](ctx, a, c, nil, nil)
			}),
		op(http.MethodPost, "/applications", "createApplication", "Makes an application.", write("applications"), nil,
			func(ctx context.Context, _ *call, in ApplicationBody) (*model.Application, error) {
				m := in.over(&model.Application{})
				if err := m.Validate(); err != nil {
					return nil, err
				}
				return m, a.changed(a.Store.CreateApplication(ctx, m, a.Now()))
			}),
		op(http.MethodGet, "/applications/{id}", "getApplication", "Returns an application.", read("applications"), nil, get[model.Application](a)),
		op(http.MethodPut, "/applications/{id}", "updateApplication", "Writes all of an application.", write("applications"), nil,
			func(ctx context.Context, c *call, in ApplicationBody) (*model.Application, error) {
				m, err := byID[model.Application](ctx, a, c)
				if err != nil {
					return nil, err
				}
				if err := in.over(m).Validate(); err != nil {
					return nil, err
				}
				return m, a.changed(a.Store.UpdateApplication(ctx, m, a.Now()))
			}),
		op(http.MethodDelete, "/applications/{id}", "deleteApplication", "Deletes an application.", write("applications"), nil, remove(a, a.Store.DeleteApplication)),
	}
}
