package rest

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/model"
)

func (a *API) auditRoutes() []route {
	return []route{
		op(http.MethodGet, "/audits", "listAudits", "Lists what was changed or refused, the newest first.", read("audits"), paged(
			param{name: "actor", doc: "Only what this actor did.", kind: "string"},
			param{name: "action", doc: "Only this operation.", kind: "string"},
			param{name: "outcome", doc: "Only this outcome.", kind: "string", enum: []string{"ok", "refused", "failed"}},
			param{name: "after", doc: "Only from this time on, RFC 3339.", kind: "string"},
			param{name: "until", doc: "Only before this time, RFC 3339.", kind: "string"},
		), a.listAudits),
	}
}

func (a *API) listAudits(ctx context.Context, c *call, _ none) (Page[model.Audit], error) {
	q, err := c.page()
	if err != nil {
		return Page[model.Audit]{}, err
	}
	c.where(&q, nil, []string{"actor", "action", "outcome"})
	q.Newest = true
	for name, into := range map[string]*model.Time{"after": &q.After, "until": &q.Until} {
		if !c.query.Has(name) {
			continue
		}
		t, err := time.Parse(time.RFC3339, c.query.Get(name))
		if err != nil {
			return Page[model.Audit]{}, fmt.Errorf("%s: %.40q, want a time such as 2026-11-21T12:00:00Z: %w", name, c.query.Get(name), errdefs.ErrInvalidArgument)
		}
		*into = model.At(t)
	}
	rows, total, err := database.List[model.Audit](ctx, a.Store, q)
	return pageOf(rows, total, q), err
}
