package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/darter-p2p/darter/manager/access"
	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/model"
	"github.com/darter-p2p/darter/manager/oidc"
	"github.com/darter-p2p/darter/manager/problem"
)

// Prefix is the path below which the API is.
const Prefix = "/api/v1"

// Cookie is the name of a browser's session.
const Cookie = "darter_session"

// Jobs prepares the arguments of jobs. A kind that it refuses is ErrInvalidArgument.
type Jobs interface {
	// Prepare checks arguments and returns them as they may be stored and shown.
	Prepare(kind string, args json.RawMessage) (json.RawMessage, error)
}

// Config is what an API stands on.
type Config struct {
	Store *database.Store
	Guard *access.Guard
	Now   func() time.Time
	// Changed is called after a change of what members are told. May be nil.
	Changed func()
	// Jobs may be nil: arguments are stored as they are.
	Jobs Jobs
	// Made is called after every try to make a job. May be nil.
	Made func(kind string, err error)
	// Authority lets hosts join; nil = this manager has no CA.
	Authority Authority
	// Secure says that browsers reach the API by https only.
	Secure bool
	// URL is where browsers reach the manager, without a slash at its end, for providers to
	// send them back to; "" = nobody can sign in through a provider.
	URL     string
	Metrics prometheus.Registerer
}

// API serves /api/v1.
type API struct {
	Config
	mux     *http.ServeMux
	routes  []route
	origin  *http.CrossOriginProtection
	refused access.Strangers
	signIns *oidc.Client

	requests  *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
	unaudited prometheus.Counter
}

// New makes an API.
func New(c Config) (*API, error) {
	if c.Changed == nil {
		c.Changed = func() {}
	}
	if c.Made == nil {
		c.Made = func(string, error) {}
	}
	a := &API{Config: c, mux: http.NewServeMux(), origin: http.NewCrossOriginProtection(), signIns: oidc.New(c.Now)}
	a.requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "darter_manager_requests_total", Help: "Requests to the REST API.",
	}, []string{"operation", "status"})
	a.seconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "darter_manager_request_seconds", Help: "How long requests to the REST API took.", Buckets: prometheus.DefBuckets,
	}, []string{"operation"})
	a.unaudited = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "darter_manager_unaudited_total", Help: "Requests that left no audit: the database failed, or strangers were refused too often.",
	})
	if c.Metrics != nil {
		for _, m := range []prometheus.Collector{a.requests, a.seconds, a.unaudited} {
			if err := c.Metrics.Register(m); err != nil {
				return nil, fmt.Errorf("rest metrics: %w", err)
			}
		}
	}
	a.routes = a.table()
	for i := range a.routes {
		r := &a.routes[i]
		a.mux.HandleFunc(r.method+" "+Prefix+r.path, func(w http.ResponseWriter, q *http.Request) { a.handle(w, q, r) })
	}
	document, err := a.Document()
	if err != nil {
		return nil, err
	}
	a.mux.HandleFunc("GET "+Prefix+"/openapi.json", func(w http.ResponseWriter, r *http.Request) {
		if err := problem.Accept(r, "application/json"); err != nil {
			problem.Write(w, problem.Of(err), err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(document)
	})
	return a, nil
}

// ServeHTTP answers what is below Prefix.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	if err := problem.Route(a.mux, w, r); err != nil {
		problem.Write(w, problem.Of(err), err)
		return
	}
	a.mux.ServeHTTP(w, r)
}

// handle does what a route says: knows the caller, asks for the right, serves, audits.
func (a *API) handle(w http.ResponseWriter, r *http.Request, rt *route) {
	begun := time.Now()
	c := &call{Request: r, writer: w, remote: remoteOf(r)}
	answer, err := a.answer(r.Context(), c, rt)
	status := rt.status
	if err != nil {
		var told bool
		if status, told = problem.StatusOf(err); status >= http.StatusInternalServerError && !told && r.Context().Err() == nil {
			log.G(r.Context()).WithError(err).WithField("operation", rt.name).Error("A request failed")
		}
	}
	if r.Method != http.MethodGet || rt.audited || status == http.StatusUnauthorized || status == http.StatusForbidden {
		a.audit(c, rt, status, err)
	}
	a.requests.WithLabelValues(rt.name, fmt.Sprint(status)).Inc()
	a.seconds.WithLabelValues(rt.name).Observe(time.Since(begun).Seconds())
	if err != nil {
		problem.Write(w, problem.Of(err), err)
		return
	}
	if status == http.StatusNoContent {
		w.WriteHeader(status)
		return
	}
	if page, ok := answer.(http.Handler); ok {
		page.ServeHTTP(w, r)
		return
	}
	body, err := json.Marshal(answer)
	if err != nil {
		log.G(r.Context()).WithError(err).WithField("operation", rt.name).Error("An answer cannot be written")
		problem.Write(w, problem.Of(err), err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(body)
}

// answer returns a route's answer to a call, or why there is none.
func (a *API) answer(ctx context.Context, c *call, rt *route) (_ any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	if err := a.know(ctx, c); err != nil && (rt.right != right{}) {
		return nil, err
	}
	if err := problem.Accept(c.Request, rt.media()); err != nil {
		return nil, err
	}
	switch need := rt.right; {
	case need == right{}:
	case need.signedIn:
		if c.actor == nil {
			return nil, fmt.Errorf("sign in: %w", errdefs.ErrUnauthenticated)
		}
	default:
		err := a.Guard.May(ctx, c.actor, need.object, need.action, false)
		c.any = err == nil
		if errdefs.IsPermissionDenied(err) && need.own {
			err = a.Guard.May(ctx, c.actor, need.object, need.action, true)
		}
		if err != nil {
			return nil, err
		}
	}
	if c.query, err = parseQuery(rt, c.URL.RawQuery); err != nil {
		return nil, err
	}
	return rt.serve(ctx, c)
}

// know finds out who calls: by the token if there is one, else by the browser's session,
// whose requests must come from this origin.
func (a *API) know(ctx context.Context, c *call) (err error) {
	if header := c.Header.Get("Authorization"); header != "" {
		scheme, secret, _ := strings.Cut(header, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return fmt.Errorf("authorization: want Bearer: %w", errdefs.ErrUnauthenticated)
		}
		c.actor, err = a.Guard.Bearer(ctx, strings.TrimSpace(secret))
		return err
	}
	cookie, err := c.Cookie(Cookie)
	if err != nil {
		return fmt.Errorf("sign in: %w", errdefs.ErrUnauthenticated)
	}
	if err := a.origin.Check(c.Request); err != nil {
		return fmt.Errorf("%w: %w", err, errdefs.ErrPermissionDenied)
	}
	c.actor, err = a.Guard.Session(ctx, cookie.Value)
	return err
}

// remoteOf is the caller's address without its port.
func remoteOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return host
}

// auditTimeout bounds the writing of an audit, which outlives the request's context.
const auditTimeout = 10 * time.Second

// audit writes down what was done or refused.
func (a *API) audit(c *call, rt *route, status int, err error) {
	entry := &model.Audit{
		At: model.At(a.Now()), ActorKind: c.actor.Kind(), Actor: c.actor.String(), Remote: c.remote,
		Action: rt.name, Object: model.Text(c.URL.Path, model.MaxText), Status: int64(status), Outcome: access.Outcome(status),
	}
	if err != nil {
		entry.Detail = model.Text(problem.Words(err), model.MaxText)
		if _, told := problem.StatusOf(err); !told {
			entry.Detail = http.StatusText(status)
		}
	}
	if c.actor == nil && err != nil && !a.refused.May(a.Now()) {
		a.unaudited.Inc() // else a stranger could fill the disk
		return
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(c.Context()), auditTimeout)
	defer stop()
	if err := a.Store.WriteAudit(ctx, entry); err != nil {
		a.unaudited.Inc()
		log.G(ctx).WithError(err).WithField("actor", entry.Actor).WithField("operation", rt.name).WithField("object", entry.Object).
			WithField("outcome", entry.Outcome).Error("An audit cannot be written")
	}
}
