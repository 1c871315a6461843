package rest

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/manager/access"
	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/model"
)

// RoleBody is what may be said of a role.
type RoleBody struct {
	Description string             `json:"description,omitempty"`
	Permissions []model.Permission `json:"permissions"`
}

// NewRoleBody is a new role.
type NewRoleBody struct {
	Name string `json:"name"`
	RoleBody
}

func (a *API) roleRoutes() []route {
	return []route{
		op(http.MethodGet, "/roles", "listRoles", "Lists all roles, the built-in ones first.", read("roles"), nil,
			func(ctx context.Context, _ *call, _ none) (Page[model.AccessRole], error) {
				all, err := a.Guard.AllRoles(ctx)
				return pageOf(all, int64(len(all)), database.Query{Limit: max(len(all), 1)}), err
			}),
		op(http.MethodPost, "/roles", "createRole", "Makes a role.", write("roles"), nil,
			func(ctx context.Context, _ *call, in NewRoleBody) (*model.AccessRole, error) {
				r := &model.AccessRole{Name: in.Name, Description: in.Description, Permissions: in.Permissions}
				if access.BuiltIn(in.Name) {
					return nil, fmt.Errorf("name: %s is built in: %w", in.Name, errdefs.ErrAlreadyExists)
				}
				if err := r.Validate(); err != nil {
					return nil, err
				}
				return r, a.rolesChanged(a.Store.CreateRole(ctx, r, a.Now()))
			}),
		op(http.MethodGet, "/roles/{name}", "getRole", "Returns a role.", read("roles"), nil, a.role),
		op(http.MethodPut, "/roles/{name}", "updateRole", "Writes all of a role.", write("roles"), nil,
			func(ctx context.Context, c *call, in RoleBody) (*model.AccessRole, error) {
				r, err := a.keptRole(ctx, c)
				if err != nil {
					return nil, err
				}
				r.Description, r.Permissions = in.Description, in.Permissions
				if err := r.Validate(); err != nil {
					return nil, err
				}
				return r, a.rolesChanged(a.Store.UpdateRole(ctx, r, a.Now()))
			}),
		op(http.MethodDelete, "/roles/{name}", "deleteRole", "Deletes a role that nobody has.", write("roles"), nil,
			func(ctx context.Context, c *call, _ none) (none, error) {
				r, err := a.keptRole(ctx, c)
				if err != nil {
					return none{}, err
				}
				return none{}, a.rolesChanged(a.Store.DeleteRole(ctx, r.Name))
			}),
	}
}

func (a *API) role(ctx context.Context, c *call, _ none) (*model.AccessRole, error) {
	all, err := a.Guard.AllRoles(ctx)
	if err != nil {
		return nil, err
	}
	name := c.PathValue("name")
	i := slices.IndexFunc(all, func(r model.AccessRole) bool { return r.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("no role %.40q: %w", name, errdefs.ErrNotFound)
	}
	return &all[i], nil
}

// keptRole returns the role that the path names unless it is built in.
func (a *API) keptRole(ctx context.Context, c *call) (*model.AccessRole, error) {
	r, err := a.role(ctx, c, none{})
	if err == nil && access.BuiltIn(r.Name) {
		return nil, fmt.Errorf("role %s is built in: %w", r.Name, errdefs.ErrFailedPrecondition)
	}
	return r, err
}

func (a *API) rolesChanged(err error) error {
	if err == nil {
		a.Guard.RolesChanged()
	}
	return err
}
