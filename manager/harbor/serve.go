package harbor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/darter-p2p/darter/manager/access"
	"github.com/darter-p2p/darter/manager/model"
	"github.com/darter-p2p/darter/manager/problem"
)

// call is a request and who makes it.
type call struct {
	*http.Request
	// actor is the caller's name, known after allow; kind is the audit's word for it.
	actor, kind string
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := problem.Route(h.mux, w, r); err != nil {
		refuse(w, err)
		return
	}
	h.mux.ServeHTTP(w, r)
}

// answer writes what a route's handler returns, or its error with the status of its class. What
// changes something or is refused is audited.
func (h *Handler) answer(w http.ResponseWriter, r *http.Request, o route) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	c := &call{Request: r, kind: "unknown"}
	body, err := h.serve(c, o)
	status := http.StatusOK
	if err != nil {
		var told bool
		if status, told = problem.StatusOf(err); status >= http.StatusInternalServerError && !told && r.Context().Err() == nil {
			log.G(r.Context()).WithError(err).WithField("path", r.URL.Path).Error("A request of Harbor's failed")
		}
	}
	if r.Method != http.MethodGet || status == http.StatusUnauthorized || status == http.StatusForbidden {
		h.audit(c, o, status, err)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	if text, ok := body.(string); ok {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, text)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(body) // a client that left is its own affair
}

func (h *Handler) serve(c *call, o route) (any, error) {
	if o.Object != "" {
		if err := h.allow(c, o.Object, o.Action); err != nil {
			return nil, err
		}
	}
	media := o.Page
	if media == "" {
		media = "application/json"
	}
	if err := problem.Accept(c.Request, media); err != nil {
		return nil, err
	}
	return o.serve(h, c)
}

// refuse answers with a problem whose message is where Dragonfly's clients read it.
func refuse(w http.ResponseWriter, err error) {
	p := problem.Of(err)
	if p.Message = p.Detail; p.Message == "" {
		p.Message = p.Title
	}
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="darter"`)
	}
	w.Header().Set("Cache-Control", "no-store")
	problem.Write(w, p, err)
}

// auditTimeout bounds the writing of an audit, which outlives the request's context.
const auditTimeout = 10 * time.Second

// audit writes down what was done or refused.
func (h *Handler) audit(c *call, o route, status int, err error) {
	if c.kind == "unknown" && err != nil && !h.refused.May(time.Now()) {
		return
	}
	entry := &model.Audit{
		At: model.At(time.Now()), ActorKind: c.kind, Actor: c.actor, Remote: remote(c.Request),
		Action: o.Name, Object: model.Text(c.URL.Path, model.MaxText), Status: int64(status), Outcome: access.Outcome(status),
	}
	if err != nil {
		entry.Detail = model.Text(problem.Of(err).Detail, model.MaxText)
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(c.Context()), auditTimeout)
	defer stop()
	if err := h.Jobs.WriteAudit(ctx, entry); err != nil {
		log.G(ctx).WithError(err).WithField("actor", entry.Actor).WithField("operation", o.Name).Error("An audit cannot be written")
	}
}

// allow finds out who calls.
func (h *Handler) allow(c *call, object, action string) (err error) {
	anonymous := c.Header.Get("Authorization") == "" && c.URL.Query().Get("access_token") == ""
	if anonymous && h.cfg.AllowAnonymous {
		c.actor = "harbor"
		return nil
	}
	c.actor, err = h.Access.Allow(c.Request, object, action)
	switch {
	case c.actor == "":
	case strings.Contains(c.actor, "/"):
		c.kind = "token"
	default:
		c.kind = "user"
	}
	return err
}

// read reads a JSON body; what is not known in it is ignored.
func read(r *call, into any) error {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return &problem.Fault{Status: http.StatusUnsupportedMediaType, Detail: fmt.Sprintf("Content-Type: %.60q, want application/json", r.Header.Get("Content-Type"))}
	}
	d := json.NewDecoder(r.Body)
	if err := d.Decode(into); err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return &problem.Fault{Status: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("body: more than %d bytes", large.Limit)}
		}
		return fmt.Errorf("body: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if d.More() {
		return fmt.Errorf("body: more than one value: %w", errdefs.ErrInvalidArgument)
	}
	return nil
}
