package rest_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/darter-p2p/darter/manager/model"
	"github.com/darter-p2p/darter/manager/problem"
	"github.com/darter-p2p/darter/manager/rest"
)

// TestWalk does every operation once as root, so that each answer is compared with the
// document.
func TestWalk(t *testing.T) {
	w := newWorld(t)
	walkClusters(t, w)
	walkMembers(t, w)
	walkConfigurations(t, w)
	walkJobs(t, w)
	walkAccess(t, w)
	walkSession(t, w)
	walkJoin(t, w)
	walkHarbor(t, w)
	walkSignIn(t, w)
	for path, item := range w.doc.Paths.Map() {
		for method, operation := range item.Operations() {
			if id := operation.OperationID; id != "getDocument" && !w.done[id] {
				t.Errorf("%s (%s %s) was not walked", id, method, path)
			}
		}
	}
}

func walkClusters(t *testing.T, w *world) {
	c := want[model.Cluster](w, 201, "POST", "/api/v1/clusters", `{"name":"prod","scopes":{"cidrs":["10.0.0.0/8"]}}`)
	same := want[model.Cluster](w, 200, "GET", fmt.Sprint("/api/v1/clusters/", c.ID), "")
	if same.Name != "prod" || same.CreatedAt.IsZero() {
		t.Errorf("cluster %+v", same)
	}
	want[model.Cluster](w, 200, "PUT", "/api/v1/clusters/1", `{"name":"prod","is_default":true,"scopes":{"cidrs":["10.0.0.0/8"]}}`)
	second := want[model.Cluster](w, 201, "POST", "/api/v1/clusters", `{"name":"second"}`)
	page := want[rest.Page[model.Cluster]](w, 200, "GET", "/api/v1/clusters?per_page=1&page=2", "")
	if page.Total != 2 || page.Page != 2 || len(page.Items) != 1 || page.Items[0].Name != "second" {
		t.Errorf("page %+v", page)
	}
	if page := want[rest.Page[model.Cluster]](w, 200, "GET", "/api/v1/clusters?search=PRO", ""); page.Total != 1 {
		t.Errorf("searched %+v", page)
	}
	want[problem.Problem](w, 409, "POST", "/api/v1/clusters", `{"name":"prod"}`)
	want[struct{}](w, 204, "DELETE", fmt.Sprint("/api/v1/clusters/", second.ID), "")
	want[problem.Problem](w, 404, "GET", fmt.Sprint("/api/v1/clusters/", second.ID), "")
	if w.changes == 0 {
		t.Error("members were not told of changed clusters")
	}
	app := want[model.Application](w, 201, "POST", "/api/v1/applications", `{"name":"web","priority":2,"urls":[{"pattern":"x","priority":0}]}`)
	at := fmt.Sprint("/api/v1/applications/", app.ID)
	want[model.Application](w, 200, "PUT", at, `{"name":"web","priority":6}`)
	want[model.Application](w, 200, "GET", at, "")
	want[rest.Page[model.Application]](w, 200, "GET", "/api/v1/applications", "")
	want[problem.Problem](w, 400, "PUT", at, `{"name":"web","priority":7}`)
	want[struct{}](w, 204, "DELETE", at, "")
}

func walkMembers(t *testing.T, w *world) {
	for _, kind := range []string{"schedulers", "seeds", "nodes"} {
		all := "/api/v1/" + kind
		m := want[model.Member](w, 201, "POST", all, `{"name":"m1","cluster_id":1,"address":"10.0.0.1:8002","pinned":true}`)
		one := fmt.Sprint(all, "/", m.ID)
		if m.State != model.Inactive {
			t.Errorf("%s: %+v", kind, m)
		}
		want[model.Member](w, 200, "PUT", one, `{"name":"m1","cluster_id":1,"idc":"z1"}`)
		if got := want[model.Member](w, 200, "GET", one, ""); got.IDC != "z1" || got.Pinned {
			t.Errorf("%s: %+v", kind, got)
		}
		if page := want[rest.Page[model.Member]](w, 200, "GET", all+"?cluster_id=1&state=inactive&idc=z1", ""); page.Total != 1 {
			t.Errorf("%s: %+v", kind, page)
		}
		want[problem.Problem](w, 400, "PUT", one, `{"name":"other","cluster_id":1}`)
		want[problem.Problem](w, 400, "POST", all, `{"name":"m2","cluster_id":99}`)
		for _, other := range []string{"schedulers", "seeds", "nodes"} {
			if other != kind {
				want[problem.Problem](w, 404, "DELETE", fmt.Sprint("/api/v1/", other, "/", m.ID), "")
			}
		}
		want[struct{}](w, 204, "DELETE", one, "")
	}
	found := want[rest.Found](w, 200, "GET", "/api/v1/search?ip=10.1.2.3", "")
	if found.Best != nil || len(found.All) != 1 || found.All[0].Score != 0.31 {
		t.Errorf("without a scheduler: %+v", found)
	}
	m := model.Member{Role: model.RoleScheduler, Name: "s1", ClusterID: 1}
	if err := w.store.ConnectMember(t.Context(), &m, w.now); err != nil {
		t.Fatal(err)
	}
	if found := want[rest.Found](w, 200, "GET", "/api/v1/search?ip=10.1.2.3", ""); found.Best == nil || found.Best.Cluster != "prod" {
		t.Errorf("with a scheduler: %+v", found)
	}
	want[problem.Problem](w, 404, "GET", "/api/v1/search?cluster=none", "")
}

func walkConfigurations(t *testing.T, w *world) {
	one := want[model.Configuration](w, 201, "POST", "/api/v1/configurations", `{"cluster_id":1,"settings":{"limits":{"upload":10485760}},"based_on":0}`)
	two := want[model.Configuration](w, 201, "POST", "/api/v1/configurations", fmt.Sprintf(`{"cluster_id":1,"settings":{},"based_on":%d,"comment":"x"}`, one.ID))
	want[problem.Problem](w, 409, "POST", "/api/v1/configurations", fmt.Sprintf(`{"cluster_id":1,"settings":{},"based_on":%d}`, one.ID))
	want[problem.Problem](w, 400, "POST", "/api/v1/configurations", `{"cluster_id":1,"settings":{"limits":{"upload":5}}}`)
	want[problem.Problem](w, 400, "POST", "/api/v1/configurations", `{"cluster_id":99,"settings":{}}`)
	want[model.Configuration](w, 200, "GET", fmt.Sprint("/api/v1/configurations/", two.ID), "")
	back := want[model.Configuration](w, 200, "POST", fmt.Sprintf("/api/v1/configurations/%d/rollback", one.ID), "")
	if back.Author != "root/all" || *back.Settings.Limits.Upload != 10<<20 {
		t.Errorf("rolled back: %+v", back)
	}
	page := want[rest.Page[model.Configuration]](w, 200, "GET", "/api/v1/configurations?cluster_id=1", "")
	if page.Total != 3 || page.Items[0].ID != back.ID {
		t.Errorf("versions: %+v", page)
	}
	if e := want[rest.Effective](w, 200, "GET", "/api/v1/clusters/1/configuration", ""); e.Version != back.ID {
		t.Errorf("effective: %+v", e)
	}
}

func walkJobs(t *testing.T, w *world) {
	j := want[model.Job](w, 201, "POST", "/api/v1/jobs", `{"kind":"preheat","cluster_id":1,"args":{"image":"x"}}`)
	one := fmt.Sprint("/api/v1/jobs/", j.ID)
	if j.State != model.Waiting || j.Actor != "root/all" {
		t.Errorf("job %+v", j)
	}
	want[problem.Problem](w, 400, "POST", "/api/v1/jobs", `{"kind":"preheat","cluster_id":1,"args":[]}`)
	want[problem.Problem](w, 400, "POST", "/api/v1/jobs", `{"kind":"dance","cluster_id":1,"args":{}}`)
	want[problem.Problem](w, 400, "POST", "/api/v1/jobs", `{"kind":"preheat","cluster_id":9,"args":{}}`)
	want[model.Job](w, 200, "GET", one, "")
	want[problem.Problem](w, 409, "DELETE", one, "")
	held, err := w.store.ClaimJob(t.Context(), "m1", w.now, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.store.PutItems(t.Context(), held, []model.JobItem{{Member: "n1", Content: "c", State: model.Failed}}, w.now); err != nil {
		t.Fatal(err)
	}
	if page := want[rest.Page[model.JobItem]](w, 200, "GET", one+"/items?state=failed&member=n1", ""); page.Total != 1 {
		t.Errorf("items %+v", page)
	}
	if got := want[model.Job](w, 200, "POST", one+"/cancel", ""); !got.Cancel || got.State != model.Running {
		t.Errorf("cancelled while it runs: %+v", got)
	}
	held.State = model.Cancelled
	if err := w.store.FinishJob(t.Context(), held, w.now); err != nil {
		t.Fatal(err)
	}
	if got := want[model.Job](w, 200, "POST", one+"/retry", ""); got.State != model.Waiting {
		t.Errorf("retried: %+v", got)
	}
	want[model.Job](w, 200, "POST", one+"/cancel", "")
	want[rest.Page[model.Job]](w, 200, "GET", "/api/v1/jobs?cluster_id=1&kind=preheat&state=cancelled", "")
	want[struct{}](w, 204, "DELETE", one, "")
}

func walkAccess(t *testing.T, w *world) {
	want[model.AccessRole](w, 201, "POST", "/api/v1/roles", `{"name":"ops","permissions":[{"object":"jobs","action":"write"}]}`)
	want[model.AccessRole](w, 200, "PUT", "/api/v1/roles/ops", `{"description":"x","permissions":[]}`)
	want[model.AccessRole](w, 200, "GET", "/api/v1/roles/ops", "")
	if page := want[rest.Page[model.AccessRole]](w, 200, "GET", "/api/v1/roles", ""); page.Total != 3 {
		t.Errorf("roles %+v", page)
	}
	want[problem.Problem](w, 409, "POST", "/api/v1/roles", `{"name":"root","permissions":[]}`)
	want[problem.Problem](w, 409, "DELETE", "/api/v1/roles/guest", "")
	want[problem.Problem](w, 400, "POST", "/api/v1/roles", `{"name":"x","permissions":[{"object":"moon","action":"write"}]}`)

	u := want[model.User](w, 201, "POST", "/api/v1/users", `{"name":"eve","roles":["ops"],"password":"`+password+`"}`)
	one := fmt.Sprint("/api/v1/users/", u.ID)
	want[problem.Problem](w, 409, "DELETE", "/api/v1/roles/ops", "")
	want[model.User](w, 200, "PUT", one, `{"email":"eve@example.com","roles":["guest"]}`)
	want[problem.Problem](w, 400, "PUT", one, `{"roles":["none"]}`)
	want[problem.Problem](w, 400, "POST", "/api/v1/users", `{"name":"bob","roles":[],"password":"short"}`)
	want[problem.Problem](w, 409, "PUT", "/api/v1/users/1", `{"roles":["guest"]}`)
	want[problem.Problem](w, 409, "DELETE", "/api/v1/users/1", "")
	want[struct{}](w, 204, "DELETE", "/api/v1/roles/ops", "")
	if got := want[model.User](w, 200, "GET", one, ""); got.Email != "eve@example.com" || !slices.Equal(got.Roles, []string{"guest"}) {
		t.Errorf("user %+v", got)
	}
	want[rest.Page[model.User]](w, 200, "GET", "/api/v1/users?search=ev", "")
	want[struct{}](w, 204, "PUT", one+"/password", `{"new":"another password"}`)
	want[problem.Problem](w, 403, "PUT", "/api/v1/users/1/password", `{"old":"wrong","new":"another password"}`)
	want[struct{}](w, 204, "DELETE", one, "")

	p := want[model.Provider](w, 201, "POST", "/api/v1/providers", `{"name":"dex","issuer":"https://dex","client_id":"c","client_secret":"s","roles":["guest"]}`)
	at := fmt.Sprint("/api/v1/providers/", p.ID)
	want[model.Provider](w, 200, "PUT", at, `{"name":"dex","issuer":"https://dex2","client_id":"c","roles":[]}`)
	if kept, err := w.store.ProviderByName(t.Context(), "dex"); err != nil || kept.ClientSecret != "s" {
		t.Errorf("provider %+v, %v", kept, err)
	}
	want[model.Provider](w, 200, "GET", at, "")
	want[rest.Page[model.Provider]](w, 200, "GET", "/api/v1/providers", "")
	want[problem.Problem](w, 400, "POST", "/api/v1/providers", `{"name":"x","issuer":"file:///etc/passwd","client_id":"c","roles":[]}`)
	want[struct{}](w, 204, "DELETE", at, "")

	if page := want[rest.Page[model.Audit]](w, 200, "GET", "/api/v1/audits?actor=root/all&action=createUser&outcome=ok&after=2026-11-21T00:00:00Z&until=2027-01-01T00:00:00Z", ""); page.Total != 1 {
		t.Errorf("audits %+v", page)
	}
	want[problem.Problem](w, 400, "GET", "/api/v1/audits?after=yesterday", "")
}

// A browser signs in, makes a token, and signs out.
func walkSession(t *testing.T, w *world) {
	answer := w.do(request("POST", "/api/v1/session", "", `{"name":"root","password":"`+password+`"}`))
	cookies := answer.Result().Cookies()
	if answer.Code != 200 || len(cookies) != 1 || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteStrictMode {
		t.Fatalf("signed in: %d, %v", answer.Code, cookies)
	}
	as := func(method, path, body, origin string) (int, string) {
		r := request(method, path, "", body)
		r.AddCookie(cookies[0])
		if origin != "" {
			r.Header.Set("Origin", origin)
			r.Header.Set("Sec-Fetch-Site", "cross-site")
		}
		answer := w.do(r)
		return answer.Code, answer.Body.String()
	}
	if code, body := as("GET", "/api/v1/session", "", ""); code != 200 {
		t.Errorf("who am I: %d %s", code, body)
	}
	const token = `{"name":"ci","scopes":["jobs:write"],"expires_in_seconds":3600}`
	if code, body := as("POST", "/api/v1/tokens", token, "https://evil"); code != 403 {
		t.Errorf("from another site: %d %s", code, body)
	}
	if code, body := as("POST", "/api/v1/tokens", token, ""); code != 201 {
		t.Errorf("a token: %d %s", code, body)
	}
	want[problem.Problem](w, 403, "POST", "/api/v1/tokens", token) // a token cannot make one
	page := want[rest.Page[model.AccessToken]](w, 200, "GET", "/api/v1/tokens?user_id=1&search=ci", "")
	if page.Total != 1 {
		t.Fatalf("tokens %+v", page)
	}
	one := fmt.Sprint("/api/v1/tokens/", page.Items[0].ID)
	want[model.AccessToken](w, 200, "GET", one, "")
	if got := want[model.AccessToken](w, 200, "POST", one+"/revoke", ""); !got.Revoked {
		t.Errorf("revoked: %+v", got)
	}
	want[struct{}](w, 204, "DELETE", one, "")
	if code, body := as("DELETE", "/api/v1/session", "", ""); code != 204 {
		t.Errorf("sign out: %d %s", code, body)
	}
	if code, _ := as("GET", "/api/v1/session", "", ""); code != 401 {
		t.Errorf("after the sign-out: %d", code)
	}
}

// walkHarbor does what Harbor's drivers do; package harbor's tests look at the answers.
func walkHarbor(t *testing.T, w *world) {
	const image = `"type":"image","url":"https://h.test/v2/a/manifests/1"`
	for _, path := range []string{"/_ping", "/healthy"} {
		if answer := w.do(request("GET", path, "", "")); answer.Code != 200 || answer.Body.String() != "OK" {
			t.Errorf("%s: %d %s", path, answer.Code, answer.Body)
		}
	}
	old := want[struct{ ID string }](w, 200, "POST", "/preheats", `{`+image+`,"headers":{"X":"y"}}`)
	want[any](w, 200, "GET", "/preheats/"+old.ID, "")
	made := want[struct{ ID int64 }](w, 200, "POST", "/oapi/v1/jobs", `{"type":"preheat","args":{`+image+`},"scheduler_cluster_ids":[1]}`)
	want[any](w, 200, "GET", fmt.Sprint("/oapi/v1/jobs/", made.ID), "")
	want[any](w, 200, "GET", "/oapi/v1/jobs?page=1&per_page=2", "")
	want[any](w, 200, "GET", "/oapi/v1/clusters?access_token="+w.root, "")
	page := want[rest.Page[model.Audit]](w, 200, "GET", "/api/v1/audits?action=harborCreateJob&actor=root/all", "")
	if page.Total != 1 || page.Items[0].Outcome != "ok" || page.Items[0].ActorKind != "token" {
		t.Errorf("audits %+v", page)
	}
}
