package rest_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/darter-p2p/darter/manager/model"
)

// dump is every row of every table but the audits.
func (w *world) dump() (all []string) {
	w.t.Helper()
	texts := func(query string) (out [][]any) {
		rows, err := w.rows.QueryContext(w.t.Context(), query)
		if err != nil {
			w.t.Fatal(err)
		}
		defer func() {
			if err := rows.Close(); err != nil {
				w.t.Error(err)
			}
		}()
		columns, err := rows.Columns()
		if err != nil {
			w.t.Fatal(err)
		}
		for rows.Next() {
			row, at := make([]any, len(columns)), make([]any, len(columns))
			for i := range row {
				at[i] = &row[i]
			}
			if err := rows.Scan(at...); err != nil {
				w.t.Fatal(err)
			}
			out = append(out, row)
		}
		if err := rows.Err(); err != nil {
			w.t.Fatal(err)
		}
		return out
	}
	for _, table := range texts(`SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT IN ('audits', 'sqlite_sequence') ORDER BY name`) {
		for _, row := range texts(fmt.Sprintf(`SELECT * FROM %s ORDER BY 1`, table[0])) {
			all = append(all, fmt.Sprint(table[0], row))
		}
	}
	return all
}

// TestAttacks tries what must not work: each is refused with a clear problem, changes
// nothing, and is audited where it would have changed something.
func TestAttacks(t *testing.T) {
	w := newWorld(t)
	want[model.Cluster](w, 201, "POST", "/api/v1/clusters", `{"name":"prod"}`)
	guest, other := w.user("gast", "guest"), w.user("other", "root")
	asGuest := w.token(guest.ID, "g", time.Hour, "*")
	readOnly := w.token(1, "ro", time.Hour, "clusters:read")
	expired := w.token(1, "old", time.Second, "*")
	ofGuest := w.token(guest.ID, "scoped", time.Hour, "users:write", "tokens:write")
	for _, token := range []string{w.root, asGuest, readOnly, ofGuest} { // when it was used is written once a minute
		if answer := w.do(request("GET", "/api/v1/session", token, "")); answer.Code != 200 {
			t.Fatal(answer.Body)
		}
	}
	w.now = w.now.Add(2 * time.Second)
	if before := w.dump(); len(before) < 8 {
		t.Fatalf("the dump lacks something: %v", before)
	}

	const cluster = `{"name":"evil"}`
	const preheat = `{"type":"preheat","args":{"type":"image","url":"https://h.test/v2/a/manifests/1"},"scheduler_cluster_ids":[1]}`
	big := `{"name":"` + strings.Repeat("x", 10<<20) + `"}`
	with := func(r *http.Request, header, value string) *http.Request {
		r.Header.Set(header, value)
		return r
	}
	raw := func(path string) *http.Request {
		r := request("GET", "/api/v1/clusters", w.root, "")
		r.URL.Path, r.URL.RawPath = path, ""
		return r
	}
	for name, tt := range map[string]struct {
		r       *http.Request
		status  int
		says    string
		outcome string // "" = not audited
	}{
		"nobody changes":           {request("POST", "/api/v1/clusters", "", cluster), 401, "sign in", "refused"},
		"nobody reads":             {request("GET", "/api/v1/clusters", "", ""), 401, "sign in", "refused"},
		"guest changes":            {request("POST", "/api/v1/clusters", asGuest, cluster), 403, "clusters:write", "refused"},
		"guest deletes":            {request("DELETE", "/api/v1/clusters/1", asGuest, ""), 403, "clusters:write", "refused"},
		"guest makes a job":        {request("POST", "/api/v1/jobs", asGuest, `{"kind":"gc","cluster_id":1,"args":{}}`), 403, "jobs:write", "refused"},
		"guest reads users":        {request("GET", "/api/v1/users", asGuest, ""), 403, "users:read", "refused"},
		"guest reads another":      {request("GET", "/api/v1/users/1", asGuest, ""), 403, "another user", "refused"},
		"guest reads audits":       {request("GET", "/api/v1/audits", asGuest, ""), 403, "audits:read", "refused"},
		"guest becomes root":       {request("PUT", fmt.Sprint("/api/v1/users/", guest.ID), asGuest, `{"roles":["root"]}`), 403, "users:write", "refused"},
		"guest sets root's":        {request("PUT", "/api/v1/users/1/password", ofGuest, `{"new":"another password"}`), 403, "another user", "refused"},
		"guest revokes root's":     {request("POST", "/api/v1/tokens/1/revoke", ofGuest, ""), 404, "no such token", "failed"},
		"root without old":         {request("PUT", "/api/v1/users/1/password", w.root, `{"new":"another password"}`), 403, "old", "refused"},
		"expired token":            {request("POST", "/api/v1/clusters", expired, cluster), 401, "expired", "refused"},
		"token without scope":      {request("POST", "/api/v1/clusters", readOnly, cluster), 403, "scopes", "refused"},
		"token of another scope":   {request("GET", "/api/v1/nodes", readOnly, ""), 403, "nodes:read", "refused"},
		"token makes a token":      {request("POST", "/api/v1/tokens", w.root, `{"name":"x","scopes":["*"],"expires_in_seconds":9}`), 403, "cannot make another", "refused"},
		"made-up token":            {request("POST", "/api/v1/clusters", "dat_"+strings.Repeat("A", 43), cluster), 401, "no token", "refused"},
		"basic":                    {with(request("POST", "/api/v1/clusters", "", cluster), "Authorization", "Basic cm9vdDpyb290"), 401, "Bearer", "refused"},
		"token in the query":       {request("GET", "/api/v1/clusters?access_token="+w.root, "", ""), 401, "sign in", "refused"},
		"session as token":         {request("GET", "/api/v1/clusters", "das_"+strings.Repeat("A", 43), ""), 401, "no token", "refused"},
		"wrong password":           {request("POST", "/api/v1/session", "", `{"name":"root","password":"dragonfly"}`), 401, "wrong name or password", "refused"},
		"sql in a name":            {request("POST", "/api/v1/clusters", w.root, `{"name":"x'; DROP TABLE clusters; --"}`), 400, "name", "failed"},
		"sql in the sign-in":       {request("POST", "/api/v1/session", "", `{"name":"root' OR '1'='1","password":"' OR '1'='1"}`), 401, "wrong name", "refused"},
		"sql in an id":             {request("GET", "/api/v1/clusters/1%20OR%201=1", w.root, ""), 404, "no id", ""},
		"sql in a filter":          {request("GET", "/api/v1/nodes?state=active'%20OR%201=1", w.root, ""), 400, "state", ""},
		"sql in a column":          {request("GET", "/api/v1/nodes?id%3D1%20OR%20role=x", w.root, ""), 400, "unknown parameter", ""},
		"headers in a name":        {request("POST", "/api/v1/clusters", w.root, `{"name":"x\r\nSet-Cookie: a=b"}`), 400, "name", "failed"},
		"headers in the path":      {request("GET", "/api/v1/roles/x%0d%0aSet-Cookie:%20a=b", w.root, ""), 404, "no role", ""},
		"10 MB":                    {request("POST", "/api/v1/clusters", w.root, big), 413, "1048576 bytes", "failed"},
		"10 MB, nobody":            {request("POST", "/api/v1/session", "", big), 413, "1048576 bytes", "failed"},
		"no content type":          {with(request("POST", "/api/v1/clusters", w.root, cluster), "Content-Type", ""), 415, "application/json", "failed"},
		"a form":                   {with(request("POST", "/api/v1/clusters", w.root, "name=evil"), "Content-Type", "application/x-www-form-urlencoded"), 415, "application/json", "failed"},
		"text":                     {with(request("POST", "/api/v1/clusters", w.root, cluster), "Content-Type", "text/plain"), 415, "application/json", "failed"},
		"another charset":          {with(request("POST", "/api/v1/clusters", w.root, cluster), "Content-Type", "application/json; charset=utf-16"), 415, "application/json", "failed"},
		"no json":                  {request("POST", "/api/v1/clusters", w.root, `{"name":`), 400, "body", "failed"},
		"two values":               {request("POST", "/api/v1/clusters", w.root, cluster+cluster), 400, "more than one", "failed"},
		"unknown field":            {request("POST", "/api/v1/clusters", w.root, `{"name":"x","id":1}`), 400, `"id"`, "failed"},
		"a number for a name":      {request("POST", "/api/v1/clusters", w.root, `{"name":7}`), 400, "body", "failed"},
		"null":                     {request("POST", "/api/v1/clusters", w.root, `null`), 400, "name", "failed"},
		"deep":                     {request("POST", "/api/v1/jobs", w.root, `{"kind":"gc","cluster_id":1,"args":`+strings.Repeat(`[`, 100_000)), 400, "body", "failed"},
		"bad pattern":              {request("POST", "/api/v1/clusters", w.root, `{"name":"x","scopes":{"hostnames":["("]}}`), 400, "scopes.hostnames[0]", "failed"},
		"unknown parameter":        {request("GET", "/api/v1/clusters?x=1", w.root, ""), 400, "unknown parameter", ""},
		"a parameter twice":        {request("GET", "/api/v1/clusters?page=1&page=2", w.root, ""), 400, "2 times", ""},
		"page 0":                   {request("GET", "/api/v1/clusters?page=0", w.root, ""), 400, "page", ""},
		"page too far":             {request("GET", "/api/v1/clusters?page=9223372036854775807", w.root, ""), 400, "page", ""},
		"all at once":              {request("GET", "/api/v1/clusters?per_page=1000000", w.root, ""), 400, "per_page", ""},
		"bad query":                {request("GET", "/api/v1/clusters?%zz", w.root, ""), 400, "query", ""},
		"id too large":             {request("GET", "/api/v1/clusters/99999999999999999999", w.root, ""), 404, "no id", ""},
		"negative id":              {request("DELETE", "/api/v1/clusters/-1", w.root, ""), 404, "no id", "failed"},
		"up and out":               {raw("/api/v1/../../etc/passwd"), 404, "no such path", ""},
		"double slash":             {raw("/api/v1//clusters"), 404, "no such path", ""},
		"dot":                      {raw("/api/v1/./clusters"), 404, "no such path", ""},
		"backslash":                {raw(`/api/v1/clusters\..`), 404, "no such path", ""},
		"nul":                      {raw("/api/v1/clusters\x00"), 404, "no such path", ""},
		"slash in an id":           {request("GET", "/api/v1/clusters/1%2f..%2f2", w.root, ""), 404, "no such path", ""},
		"another method":           {request("PATCH", "/api/v1/clusters/1", w.root, cluster), 405, "DELETE or GET or PUT", ""},
		"method by header":         {with(request("POST", "/api/v1/clusters/1", w.root, cluster), "X-HTTP-Method-Override", "DELETE"), 405, "DELETE or GET or PUT", ""},
		"an answer that is none":   {with(request("POST", "/api/v1/clusters", w.root, cluster), "Accept", "text/html, image/*"), 406, "application/json", "failed"},
		"Harbor, nobody":           {request("POST", "/oapi/v1/jobs", "", preheat), 401, "", "refused"},
		"Harbor, nobody, old":      {request("POST", "/preheats", "", preheat), 401, "", "refused"},
		"Harbor, guest":            {request("POST", "/oapi/v1/jobs", asGuest, preheat), 403, "jobs:write", "refused"},
		"Harbor, guest, old":       {request("POST", "/preheats", asGuest, preheat), 403, "jobs:write", "refused"},
		"Harbor, expired":          {request("POST", "/oapi/v1/jobs", expired, preheat), 401, "expired", "refused"},
		"Harbor, without scope":    {request("POST", "/oapi/v1/jobs", readOnly, preheat), 403, "jobs:write", "refused"},
		"Harbor, reads without":    {request("GET", "/oapi/v1/jobs", readOnly, ""), 403, "jobs:read", "refused"},
		"Harbor, 10 MB":            {request("POST", "/oapi/v1/jobs", w.root, big), 413, "1048576 bytes", "failed"},
		"Harbor, a form":           {with(request("POST", "/preheats", w.root, preheat), "Content-Type", "application/x-www-form-urlencoded"), 415, "application/json", "failed"},
		"Harbor, sql":              {request("GET", "/oapi/v1/jobs/1'%20OR%201=1", w.root, ""), 404, "no job", ""},
		"Harbor, up and out":       {raw("/oapi/v1/../../etc/passwd"), 404, "no such path", ""},
		"Harbor, another method":   {request("DELETE", "/oapi/v1/jobs/1", w.root, ""), 405, "want GET", ""},
		"Harbor, no such path":     {request("GET", "/oapi/v1/users", w.root, ""), 404, "no such path", ""},
		"Harbor, another answer":   {with(request("POST", "/oapi/v1/jobs", w.root, preheat), "Accept", "application/xml"), 406, "application/json", "failed"},
		"built-in role":            {request("PUT", "/api/v1/roles/guest", w.root, `{"permissions":[{"object":"*","action":"write"}]}`), 409, "built in", "failed"},
		"seconds that overflow":    {request("POST", "/api/v1/tokens", asGuest, `{"name":"x","scopes":["*"],"expires_in_seconds":9223372036854775807}`), 403, "cannot make another", "refused"},
		"last root but one stays":  {request("POST", "/api/v1/users", w.root, `{"name":"x","roles":["none"]}`), 400, "no role", "failed"},
		"a name that is too long":  {request("POST", "/api/v1/clusters", w.root, `{"name":"`+strings.Repeat("x", 129)+`"}`), 400, "129 bytes", "failed"},
		"control characters":       {request("POST", "/api/v1/clusters", w.root, `{"name":"x","description":"\u0000"}`), 400, "control character", "failed"},
		"a password that is known": {request("POST", "/api/v1/users", w.root, `{"name":"administrator","roles":[],"password":"administrator"}`), 400, "password", "failed"},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			before, entries := w.dump(), len(w.audits())
			answer := w.do(tt.r)
			if answer.Code != tt.status || !strings.Contains(answer.Body.String(), strings.ReplaceAll(tt.says, `"`, `\"`)) {
				t.Errorf("status %d, want %d and %q: %.300s", answer.Code, tt.status, tt.says, answer.Body)
			}
			if after := w.dump(); !slices.Equal(before, after) {
				t.Errorf("it changed something: %v, was %v", after, before)
			}
			if len(answer.Header()["Set-Cookie"]) > 0 {
				t.Errorf("it sets a cookie: %v", answer.Header())
			}
			audits := w.audits()[entries:]
			switch {
			case tt.outcome == "" && len(audits) > 0:
				t.Errorf("audited: %+v", audits)
			case tt.outcome != "" && (len(audits) != 1 || audits[0].Outcome != tt.outcome || audits[0].Remote != "192.0.2.1" || audits[0].Status != int64(tt.status)):
				t.Errorf("audits %+v, want one %s", audits, tt.outcome)
			}
		})
	}
	w.t = t
	// A user who is disabled is out at once, with tokens too.
	ofOther := w.token(other.ID, "o", time.Hour, "*")
	want[model.User](w, 200, "PUT", fmt.Sprint("/api/v1/users/", other.ID), `{"roles":["root"],"disabled":true}`)
	if answer := w.do(request("GET", "/api/v1/clusters", ofOther, "")); answer.Code != 401 {
		t.Errorf("a disabled user's token: %d", answer.Code)
	}
	for i := range 12 {
		answer := w.do(request("POST", "/api/v1/session", "", `{"name":"gast","password":"wrong"}`))
		if limited := i >= 10; (answer.Code == 429) != limited || limited && answer.Header().Get("Retry-After") == "" {
			t.Errorf("wrong password %d: %d %v", i, answer.Code, answer.Header())
		}
	}
}

// A database that is away is a 503 without its words.
func TestDatabaseAway(t *testing.T) {
	w := newWorld(t)
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}
	answer := w.do(request("GET", "/api/v1/clusters", w.root, ""))
	if answer.Code < 500 || strings.Contains(answer.Body.String(), "sql") {
		t.Errorf("status %d: %s", answer.Code, answer.Body)
	}
}
