package harbor

import (
	"net/http"
	"reflect"

	"github.com/darter-p2p/darter/manager/model"
)

// Operation is a route as the manager's OpenAPI document tells it.
type Operation struct {
	Method, Path string
	Name, Doc    string
	// Object and Action are the right that a caller needs, "" = none.
	Object, Action string
	Params         []Param
	Body, Answer   reflect.Type // Body nil = none
	Page           string       // the type of an answer that is not JSON
}

// Param is a parameter of a path or a query.
type Param struct {
	Name, Doc string
	Kind      string // "string" or "integer"
	InPath    bool
}

// route is an operation and what serves it.
type route struct {
	Operation
	serve func(*Handler, *call) (any, error)
}

// Operations lists what a Handler serves.
func Operations() (out []Operation) {
	for _, r := range table {
		out = append(out, r.Operation)
	}
	return out
}

var (
	jobPath = []Param{{Name: "id", Kind: "integer", InPath: true}, tokenParam}
	// tokenParam is Dragonfly's other way to show a token.
	tokenParam = Param{Name: "access_token", Doc: "A personal access token, in place of the header.", Kind: "string"}
)

// table is every route; the mux and the document are made of it.
var table = []route{
	{Operation{Method: http.MethodGet, Path: "/_ping", Name: "harborPing", Doc: "Says that the manager is there, to Harbor's old driver.",
		Answer: reflect.TypeFor[string](), Page: "text/plain"}, alive},
	{Operation{Method: http.MethodGet, Path: "/healthy", Name: "harborHealthy", Doc: "Says that the manager is there, to Harbor's new driver.",
		Answer: reflect.TypeFor[string](), Page: "text/plain"}, alive},
	{Operation{Method: http.MethodPost, Path: "/preheats", Name: "harborPreheat", Doc: "Makes a preheat, for Harbor's old driver.",
		Object: "jobs", Action: model.Write, Params: []Param{tokenParam}, Body: reflect.TypeFor[preheat](), Answer: reflect.TypeFor[preheatID]()}, (*Handler).postPreheat},
	{Operation{Method: http.MethodGet, Path: "/preheats/{id}", Name: "harborPreheatStatus", Doc: "Returns a preheat's state, for Harbor's old driver.",
		Object: "jobs", Action: model.Read, Params: jobPath, Answer: reflect.TypeFor[oldStatus]()}, (*Handler).getPreheat},
	{Operation{Method: http.MethodPost, Path: "/oapi/v1/jobs", Name: "harborCreateJob", Doc: "Makes a preheat, as Dragonfly's open API does.",
		Object: "jobs", Action: model.Write, Params: []Param{tokenParam}, Body: reflect.TypeFor[newJob](), Answer: reflect.TypeFor[job]()}, (*Handler).postJob},
	{Operation{Method: http.MethodGet, Path: "/oapi/v1/jobs", Name: "harborListJobs", Doc: "Lists preheats, the newest first.",
		Object: "jobs", Action: model.Read, Answer: reflect.TypeFor[[]job](), Params: []Param{
			{Name: "page", Doc: "Which page, from 1.", Kind: "integer"}, {Name: "per_page", Doc: "Entries of a page, at most 100.", Kind: "integer"}, tokenParam,
		}}, (*Handler).listJobs},
	{Operation{Method: http.MethodGet, Path: "/oapi/v1/jobs/{id}", Name: "harborGetJob", Doc: "Returns a preheat with the outcome in each cluster.",
		Object: "jobs", Action: model.Read, Params: jobPath, Answer: reflect.TypeFor[job]()}, (*Handler).getJob},
	{Operation{Method: http.MethodGet, Path: "/oapi/v1/clusters", Name: "harborListClusters", Doc: "Lists clusters, as Dragonfly's open API does.",
		Object: "clusters", Action: model.Read, Params: []Param{tokenParam}, Answer: reflect.TypeFor[[]cluster]()}, (*Handler).listClusters},
}

func alive(*Handler, *call) (any, error) { return "OK", nil }
