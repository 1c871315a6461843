package rest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"encoding/json"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/manager/access"
	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/model"
	"github.com/darter-p2p/darter/manager/problem"
)

// MaxBody is the most bytes of a request's body.
const MaxBody = 1 << 20

// Bounds of lists.
const (
	defaultPerPage = 50
	maxPerPage     = 1000
	maxPage        = 1 << 20
)

// none is the body or answer of a route that has none.
type none struct{}

// Page is a part of a list.
type Page[T any] struct {
	Items   []T   `json:"items"`
	Total   int64 `json:"total"` // of the whole list
	Page    int   `json:"page"`  // from 1
	PerPage int   `json:"per_page"`
}

// right is what a caller needs. The zero right is none: the route is open to all.
type right struct {
	object, action string
	// own says that the right to one's own is enough; the handler sees to it that it
	// is the caller's own.
	own bool
	// signedIn asks for no right but to be known.
	signedIn bool
}

// param is a parameter of the query or the path.
type param struct {
	name, doc string
	kind      string   // "string", "integer" or "boolean"
	enum      []string // the values of a string
	inPath    bool
}

// route is one operation.
type route struct {
	method, path string // below /api/v1
	name         string // operationId
	doc          string
	right        right
	params       []param
	status       int // of success
	body, answer reflect.Type
	// page is the type of an answer that is for browsers, not programs; "" is JSON.
	page string
	// loose says that a body may hold what nobody knows, and lack anything.
	loose bool
	// open takes any parameter of the query: what comes back from others has some of theirs.
	open bool
	// audited says that a GET is audited as a change is.
	audited bool
	serve   func(ctx context.Context, c *call) (any, error)
}

// call is one request to a route.
type call struct {
	*http.Request
	writer http.ResponseWriter
	query  url.Values
	actor  *access.Actor
	remote string // the caller's address
	// any says that the caller has the right to others' too.
	any bool
}

// op makes a route of a typed handler. A path parameter {id} is a number, any other text.
func op[In, Out any](method, path, name, doc string, need right, params []param, f func(context.Context, *call, In) (Out, error)) route {
	r := route{
		method: method, path: path, name: name, doc: doc, right: need, status: http.StatusOK,
		body: reflect.TypeFor[In](), answer: reflect.TypeFor[Out](),
	}
	for segment := range strings.SplitSeq(path, "/") {
		if p, ok := strings.CutPrefix(segment, "{"); ok {
			p = strings.TrimSuffix(p, "}")
			kind := "string"
			if p == "id" || p == "version" {
				kind = "integer"
			}
			r.params = append(r.params, param{name: p, kind: kind, inPath: true})
		}
	}
	r.params = append(r.params, params...)
	switch {
	case r.answer == reflect.TypeFor[none]():
		r.status = http.StatusNoContent
	case strings.HasPrefix(name, "create"):
		r.status = http.StatusCreated
	}
	r.serve = func(ctx context.Context, c *call) (any, error) {
		var in In
		if r.body != reflect.TypeFor[none]() {
			if err := decode(c.writer, c.Request, &in); err != nil {
				return nil, err
			}
		}
		return f(ctx, c, in)
	}
	return r
}

// forBrowsers makes a route answer a page or a redirect: its handler returns an http.Handler.
func (r route) forBrowsers(status int, page string) route {
	r.status, r.page = status, page
	return r
}

// media is the type of an answer that succeeds.
func (r *route) media() string {
	switch {
	case r.page != "":
		return r.page
	case r.status == http.StatusSeeOther:
		return "text/html" // of the redirect, which nobody reads
	}
	return "application/json"
}

// paged are the parameters of every list.
func paged(more ...param) []param {
	return append([]param{
		{name: "page", doc: "Which page, from 1.", kind: "integer"},
		{name: "per_page", doc: fmt.Sprintf("Entries of a page, %d if not said, at most %d.", defaultPerPage, maxPerPage), kind: "integer"},
	}, more...)
}

// searched is the parameter of lists with names.
var searched = param{name: "search", doc: "Only those whose name holds this text.", kind: "string"}

// decode reads a body of one JSON value with known fields.
func decode(w http.ResponseWriter, r *http.Request, into any) error {
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" || params["charset"] != "" && !strings.EqualFold(params["charset"], "utf-8") {
		return &problem.Fault{Status: http.StatusUnsupportedMediaType, Detail: "Content-Type: want application/json"}
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, MaxBody))
	d.DisallowUnknownFields()
	err = d.Decode(into)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = errors.New("more than one value")
		}
	}
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return &problem.Fault{Status: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("body: more than %d bytes", large.Limit)}
	}
	return fmt.Errorf("body: %w: %w", err, errdefs.ErrInvalidArgument)
}

// parseQuery reads the query and refuses what the route does not know.
func parseQuery(r *route, raw string) (url.Values, error) {
	q, err := url.ParseQuery(raw)
	if err != nil {
		return nil, fmt.Errorf("query: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	for name, values := range q {
		i := slices.IndexFunc(r.params, func(p param) bool { return p.name == name && !p.inPath })
		if i < 0 && r.open {
			continue
		}
		if i < 0 {
			return nil, fmt.Errorf("query: unknown parameter %.40q: %w", name, errdefs.ErrInvalidArgument)
		}
		if len(values) != 1 {
			return nil, fmt.Errorf("query: %s is there %d times: %w", name, len(values), errdefs.ErrInvalidArgument)
		}
		if err := r.params[i].check(values[0]); err != nil {
			return nil, err
		}
	}
	return q, nil
}

func (p *param) check(value string) error {
	bad := func(want string) error {
		return fmt.Errorf("%s: %.40q, want %s: %w", p.name, value, want, errdefs.ErrInvalidArgument)
	}
	switch {
	case p.kind == "integer":
		if n, err := strconv.ParseInt(value, 10, 64); err != nil || n < 0 {
			return bad("a number")
		}
	case p.kind == "boolean":
		if value != "true" && value != "false" {
			return bad("true or false")
		}
	case len(p.enum) > 0:
		if !slices.Contains(p.enum, value) {
			return bad("one of " + strings.Join(p.enum, ", "))
		}
	case len(value) > model.MaxText || strings.ContainsRune(value, 0) || !validUTF8(value):
		return bad("a short text")
	}
	return nil
}

func validUTF8(s string) bool { return strings.ToValidUTF8(s, "") == s }

// id returns the number in the path. What is no number is not there.
func (c *call) id() (int64, error) { return c.number("id") }

func (c *call) number(name string) (int64, error) {
	n, err := strconv.ParseInt(c.PathValue(name), 10, 64)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("no %s %.40q: %w", name, c.PathValue(name), errdefs.ErrNotFound)
	}
	return n, nil
}

// integer returns a parameter of the query that was checked.
func (c *call) integer(name string) int64 {
	n, _ := strconv.ParseInt(c.query.Get(name), 10, 64) // parseQuery checked it
	return n
}

// page returns the part of a list that is asked for.
func (c *call) page() (database.Query, error) {
	page, perPage := int64(1), int64(defaultPerPage)
	if c.query.Has("page") {
		page = c.integer("page")
	}
	if c.query.Has("per_page") {
		perPage = c.integer("per_page")
	}
	if page < 1 || page > maxPage {
		return database.Query{}, fmt.Errorf("page: %d is not within 1 and %d: %w", page, maxPage, errdefs.ErrInvalidArgument)
	}
	if perPage < 1 || perPage > maxPerPage {
		return database.Query{}, fmt.Errorf("per_page: %d is not within 1 and %d: %w", perPage, maxPerPage, errdefs.ErrInvalidArgument)
	}
	return database.Query{Limit: int(perPage), Offset: int((page - 1) * perPage), Where: map[string]any{}, Search: c.query.Get("search")}, nil
}

// where adds conditions for those parameters that are there.
func (c *call) where(q *database.Query, integers, texts []string) {
	for _, name := range integers {
		if c.query.Has(name) {
			q.Where[name] = c.integer(name)
		}
	}
	for _, name := range texts {
		if c.query.Has(name) {
			q.Where[name] = c.query.Get(name)
		}
	}
}

// pageOf makes the answer of rows.
func pageOf[T any](rows []T, total int64, q database.Query) Page[T] {
	if rows == nil {
		rows = []T{}
	}
	page := 1
	if q.Limit > 0 {
		page += q.Offset / q.Limit
	}
	return Page[T]{Items: rows, Total: total, Page: page, PerPage: min(q.Limit, math.MaxInt32)}
}
