package rest_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// FuzzAPI sends root's requests to every operation of the document: whatever path
// parameters, query and body say, none is answered with 500 and each answer is one of the
// document.
func FuzzAPI(f *testing.F) {
	w := newWorld(f)
	type operation struct{ method, path string }
	var all []operation
	for path, item := range w.doc.Paths.Map() {
		for method := range item.Operations() {
			all = append(all, operation{method, path})
		}
	}
	slices.SortFunc(all, func(a, b operation) int { return strings.Compare(a.path+a.method, b.path+b.method) })
	bodies := []string{
		`{"name":"a","roles":["root"],"password":"correct horse"}`,
		`{"name":"a","scopes":{"cidrs":["::/0"],"hostnames":["."]},"is_default":true,"jobs_per_minute":1}`,
		`{"kind":"preheat","cluster_id":1,"args":{"a":[1,null]}}`,
		`{"cluster_id":0,"settings":{"limits":{"upload":1048576},"block":{"urls":["x"]}},"based_on":0}`,
		`{"name":"a","issuer":"https://a","client_id":"x","roles":[]}`,
		`{"name":"a","cluster_id":1,"address":"a:1","ip":"::1","location":"a|b"}`,
		`{"name":"a","permissions":[{"object":"*","action":"read"}]}`,
		`{"name":"a","priority":1,"urls":[{"pattern":"a","priority":0}]}`,
		`{"old":"","new":"correct horse"}`,
	}
	for i := range all {
		f.Add(uint8(i), "1", "page=1&per_page=2&search=%25&state=active&cluster_id=1", bodies[i%len(bodies)])
		f.Add(uint8(i), "\xff'\x00/..", "after=\xff&ip=%00&until=2026-01-01T00:00:00Z", "\xff{}[")
	}
	f.Fuzz(func(t *testing.T, which uint8, id, query, body string) {
		w.t = t
		op := all[int(which)%len(all)]
		path := strings.NewReplacer("{id}", url.PathEscape(id), "{version}", url.PathEscape(id), "{name}", url.PathEscape(id)).Replace(op.path)
		r := request(op.method, "/", w.root, body)
		u, err := url.Parse("http://manager" + path)
		if err != nil {
			t.Skip()
		}
		u.RawQuery = query
		r.URL = u
		if answer := w.do(r); answer.Code >= http.StatusInternalServerError {
			t.Errorf("%s %s: %d %s", op.method, u, answer.Code, answer.Body)
		}
		// What the token was made for must outlive what root does to itself.
		if w.do(request("GET", "/api/v1/session", w.root, "")).Code != http.StatusOK {
			w.root = newWorld(t).root
			t.Skip("root took its own rights away")
		}
	})
}
