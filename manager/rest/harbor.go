package rest

import (
	"reflect"

	"github.com/darter-p2p/darter/manager/harbor"
)

var harborPackage = reflect.TypeFor[harbor.Operation]().PkgPath()

// harborRoutes are the paths that package harbor serves, for the document.
func harborRoutes() (out []route) {
	for _, o := range harbor.Operations() {
		r := route{
			method: o.Method, path: o.Path, name: o.Name, doc: o.Doc, status: 200, loose: true,
			right: right{object: o.Object, action: o.Action}, body: o.Body, answer: o.Answer, page: o.Page,
		}
		if r.body == nil {
			r.body = reflect.TypeFor[none]()
		}
		for _, p := range o.Params {
			r.params = append(r.params, param{name: p.Name, doc: p.Doc, kind: p.Kind, inPath: p.InPath})
		}
		out = append(out, r)
	}
	return out
}
