package rest

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/model"
)

// MemberBody is what an operator may say of a scheduler, seed or node. The rest it says
// itself when it connects.
type MemberBody struct {
	Name      string `json:"name"`
	ClusterID int64  `json:"cluster_id"`
	// Pinned keeps it in this cluster whatever the scopes say.
	Pinned     bool   `json:"pinned,omitempty"`
	Address    string `json:"address,omitempty"`
	JobAddress string `json:"job_address,omitempty"`
	Hostname   string `json:"hostname,omitempty"`
	IP         string `json:"ip,omitempty"`
	IDC        string `json:"idc,omitempty"`
	Location   string `json:"location,omitempty"`
}

func (b MemberBody) over(m *model.Member) *model.Member {
	m.Name, m.ClusterID, m.Pinned, m.Address, m.JobAddress = b.Name, b.ClusterID, b.Pinned, b.Address, b.JobAddress
	m.Hostname, m.IP, m.IDC, m.Location = b.Hostname, b.IP, b.IDC, b.Location
	return m
}

// memberRoutes are the same three times: for schedulers, seeds and nodes.
func (a *API) memberRoutes() (out []route) {
	for _, kind := range []struct {
		role         model.Role
		one, objects string
	}{{model.RoleScheduler, "Scheduler", "schedulers"}, {model.RoleSeed, "Seed", "seeds"}, {model.RoleNode, "Node", "nodes"}} {
		m := members{a, kind.role}
		word := strings.ToLower(kind.one)
		all, one := "/"+kind.objects, "/"+kind.objects+"/{id}"
		out = append(out,
			op(http.MethodGet, all, "list"+kind.one+"s", "Lists "+kind.objects+".", read(kind.objects), paged(searched,
				param{name: "cluster_id", doc: "Only those of this cluster.", kind: "integer"},
				param{name: "state", doc: "Only those in this state.", kind: "string", enum: []string{string(model.Active), string(model.Inactive)}},
				param{name: "ip", doc: "Only those with this address.", kind: "string"},
				param{name: "idc", doc: "Only those in this zone.", kind: "string"},
			), m.list),
			op(http.MethodPost, all, "create"+kind.one, "Makes a "+word+" known before it connects, to pin its cluster.", write(kind.objects), nil, m.create),
			op(http.MethodGet, one, "get"+kind.one, "Returns a "+word+".", read(kind.objects), nil, m.get),
			op(http.MethodPut, one, "update"+kind.one, "Writes all that an operator may say of a "+word+".", write(kind.objects), nil, m.update),
			op(http.MethodDelete, one, "delete"+kind.one, "Deletes a "+word+" and revokes what certificates managers gave it; one with a certificate of darter ca that connects comes back.", write(kind.objects), nil, m.delete),
		)
	}
	return out
}

// members serves the members of one role.
type members struct {
	*API
	role model.Role
}

func (m members) list(ctx context.Context, c *call, _ none) (Page[model.Member], error) {
	q, err := c.page()
	if err != nil {
		return Page[model.Member]{}, err
	}
	c.where(&q, []string{"cluster_id"}, []string{"state", "ip", "idc"})
	q.Where["role"] = m.role
	rows, total, err := database.List[model.Member](ctx, m.Store, q)
	return pageOf(rows, total, q), err
}

func (m members) get(ctx context.Context, c *call, _ none) (*model.Member, error) {
	one, err := byID[model.Member](ctx, m.API, c)
	if err == nil && one.Role != m.role {
		return nil, fmt.Errorf("no such %s: %w", m.role, errdefs.ErrNotFound)
	}
	return one, err
}

func (m members) create(ctx context.Context, _ *call, in MemberBody) (*model.Member, error) {
	one := in.over(&model.Member{Role: m.role, State: model.Inactive})
	if err := m.check(ctx, one); err != nil {
		return nil, err
	}
	return one, m.changed(m.Store.CreateMember(ctx, one, m.Now()))
}

func (m members) update(ctx context.Context, c *call, in MemberBody) (*model.Member, error) {
	one, err := m.get(ctx, c, none{})
	if err != nil {
		return nil, err
	}
	if in.Name != one.Name {
		return nil, fmt.Errorf("name: is that of the certificate, %s: %w", one.Name, errdefs.ErrInvalidArgument)
	}
	if err := m.check(ctx, in.over(one)); err != nil {
		return nil, err
	}
	return one, m.changed(m.Store.UpdateMember(ctx, one, m.Now()))
}

func (m members) delete(ctx context.Context, c *call, _ none) (none, error) {
	one, err := m.get(ctx, c, none{})
	if err != nil {
		return none{}, err
	}
	if _, err := m.Store.RevokeMember(ctx, one.Role, one.Name, c.actor.String(), m.Now()); err != nil {
		return none{}, err
	}
	return none{}, m.changed(m.Store.DeleteMember(ctx, one.ID))
}

func (m members) check(ctx context.Context, one *model.Member) error {
	if err := one.Validate(); err != nil {
		return err
	}
	_, err := database.Get[model.Cluster](ctx, m.Store, one.ClusterID)
	return notThere("cluster_id", one.ClusterID, err)
}
