package rest_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// operation is one of the document's.
type operation struct {
	method, path string
	*openapi3.Operation
}

// operations lists the document's, in the order of their paths.
func (w *world) operations() (all []operation) {
	for path, item := range w.doc.Paths.Map() {
		for method, o := range item.Operations() {
			all = append(all, operation{method, path, o})
		}
	}
	slices.SortFunc(all, func(a, b operation) int { return strings.Compare(a.path+a.method, b.path+b.method) })
	return all
}

// generator makes requests that the document allows, or nearly, or not at all.
type generator struct {
	*rand.Rand
	hostile string // stands wherever a text may
	bad     int    // one in so many values is another than the document has; 0 = none
}

func (g *generator) odd() bool { return g.bad > 0 && g.IntN(g.bad) == 0 }

func pick[T any](g *generator, list ...T) T { return list[g.IntN(len(list))] }

// request makes one for an operation, with a token.
func (g *generator) request(o operation, token string) (*http.Request, error) {
	path, query := o.path, url.Values{}
	for _, p := range o.Parameters {
		value := g.parameter(p.Value.Schema.Value)
		switch {
		case p.Value.In == "path":
			path = strings.Replace(path, "{"+p.Value.Name+"}", url.PathEscape(value), 1)
		case p.Value.Name == "access_token": // it would be believed in place of the header
		case g.IntN(3) == 0:
			query.Add(p.Value.Name, value)
			if g.odd() {
				query.Add(p.Value.Name, value)
			}
		}
	}
	if g.odd() {
		query.Add(g.hostile, g.hostile)
	}
	body := ""
	if o.RequestBody != nil {
		text, err := json.Marshal(g.value(o.RequestBody.Value.Content.Get("application/json").Schema.Value, 0))
		if err != nil {
			return nil, err
		}
		if body = string(text); g.odd() {
			body = pick(g, body[:len(body)/2], body+body, "null", "[]", g.hostile, strings.Repeat("[", 50_000))
		}
	} else if g.odd() {
		body = g.hostile
	}
	r := request(o.method, "/", token, body)
	u, err := url.Parse("http://manager" + path)
	if err != nil {
		return nil, err
	}
	if u.RawQuery = query.Encode(); g.odd() {
		u.RawQuery = g.hostile
	}
	r.URL = u
	if g.odd() {
		r.Header.Set("Content-Type", pick(g, "", "text/plain", "application/json; charset=utf-16", g.hostile))
	}
	if g.odd() {
		r.Header.Set("Accept", pick(g, "text/html", "*/*;q=0", "application/json;q=x", g.hostile))
	}
	return r, nil
}

func (g *generator) parameter(s *openapi3.Schema) string {
	switch v := g.value(s, 0).(type) {
	case string:
		return v
	default:
		return fmt.Sprint(v)
	}
}

// value makes one of a schema.
func (g *generator) value(s *openapi3.Schema, depth int) any {
	if g.odd() {
		return pick[any](g, nil, true, -1, 1.5, g.hostile, []any{g.hostile}, map[string]any{g.hostile: g.hostile}, json.Number("99999999999999999999"))
	}
	switch {
	case s.Nullable && g.IntN(6) == 0 || depth > 6:
		return nil
	case len(s.Enum) > 0:
		return pick(g, s.Enum...)
	case s.Type.Is("integer"):
		return pick[int64](g, 0, 1, 1, 2, 3, 60, 1<<20, 10<<20, 1<<40, 1<<62)
	case s.Type.Is("boolean"):
		return g.IntN(2) == 0
	case s.Type.Is("string"):
		return pick(g, "a", "prod", "root", "guest", "correct horse battery", "", "jobs:write", "*", "jobs", "write", "read", "preheat", "gc",
			"https://a.test/v2/b/manifests/1", "https://idp.test", "10.0.0.0/8", "::1", "a:1", "a|b", "2026-11-21T12:00:00Z", "image", "all_peers",
			"https://idp.test 1", "node", "seed", g.hostile, strings.Repeat("x", 2000))
	case s.Type.Is("array"):
		list := []any{}
		for range g.IntN(4) {
			list = append(list, g.value(s.Items.Value, depth+1))
		}
		return list
	case s.Type.Is("object"):
		return g.object(s, depth)
	}
	return map[string]any{"image": "a.test/b:1", "scope": "all_peers", "x": g.hostile}
}

func (g *generator) object(s *openapi3.Schema, depth int) any {
	out := map[string]any{}
	names := make([]string, 0, len(s.Properties))
	for name := range s.Properties {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if slices.Contains(s.Required, name) && !g.odd() || g.IntN(2) == 0 {
			out[name] = g.value(s.Properties[name].Value, depth+1)
		}
	}
	if g.odd() {
		out[g.hostile] = g.hostile
	}
	return out
}
