package rest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/manager/ca"
	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/model"
	"github.com/darter-p2p/darter/manager/problem"
	"github.com/darter-p2p/darter/manager/rest"
)

func newAuthority(t testing.TB, store *database.Store, now func() time.Time) *ca.Authority {
	t.Helper()
	of, err := pki.CreateCA("test", now(), 30*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	a, err := ca.New(context.Background(), ca.Default(), of, store, now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// A token is made, shown once, and revoked; so are the certificates that came of it.
func walkJoin(t *testing.T, w *world) {
	const all = "/api/v1/join-tokens"
	made := want[rest.NewJoinToken](w, 201, "POST", all, `{"role":"node","expires_in_seconds":3600,"comment":"rack 7"}`)
	if made.Secret == "" || made.Token.Uses != 1 || made.Token.UsesLeft != 1 || made.Token.Author != "root/all" {
		t.Errorf("token %+v", made)
	}
	one := fmt.Sprint(all, "/", made.Token.ID)
	for _, bad := range []string{
		`{"role":"manager","expires_in_seconds":60}`, `{"role":"node","expires_in_seconds":0}`,
		`{"role":"node","expires_in_seconds":9223372036854775807}`, `{"role":"node","expires_in_seconds":60,"uses":-1}`,
	} {
		want[problem.Problem](w, 400, "POST", all, bad)
	}
	want[model.JoinToken](w, 200, "GET", one, "")
	if page := want[rest.Page[model.JoinToken]](w, 200, "GET", all+"?role=node", ""); page.Total != 1 {
		t.Errorf("tokens %+v", page)
	}

	c := &model.Certificate{Serial: "abc", Role: model.RoleNode, Name: "n9", TokenID: made.Token.ID, ExpiresAt: model.At(w.now.Add(time.Hour))}
	other := want[rest.NewJoinToken](w, 201, "POST", all, `{"role":"node","expires_in_seconds":3600,"uses":5}`)
	c.TokenID = other.Token.ID
	if err := w.store.Admit(t.Context(), c, w.now); err != nil {
		t.Fatal(err)
	}
	changes := w.changes
	out := want[rest.Revocation](w, 200, "POST", "/api/v1/certificates/revoke", `{"role":"node","name":"n9"}`)
	if len(out.Certificates) != 1 || out.Certificates[0].RevokedBy != "root/all" || len(out.Tokens) != 1 || out.Tokens[0].ID != other.Token.ID {
		t.Errorf("revoked %+v", out)
	}
	if w.changes == changes {
		t.Error("members are not told")
	}
	want[problem.Problem](w, 404, "POST", "/api/v1/certificates/revoke", `{"role":"node","name":"n9"}`)
	want[problem.Problem](w, 400, "POST", "/api/v1/certificates/revoke", `{"role":"node","name":"n9","serial":"1"}`)
	want[problem.Problem](w, 400, "POST", "/api/v1/certificates/revoke", `{}`)
	want[problem.Problem](w, 400, "POST", "/api/v1/certificates/revoke", `{"serial":"0x12"}`)
	want[rest.Revocation](w, 200, "POST", "/api/v1/certificates/revoke", `{"serial":"5eed"}`)
	if page := want[rest.Page[model.Certificate]](w, 200, "GET", "/api/v1/certificates?revoked=true&role=node&name=n9", ""); page.Total != 1 || page.Items[0].Serial != "abc" {
		t.Errorf("certificates %+v", page)
	}
	if page := want[rest.Page[model.Certificate]](w, 200, "GET", "/api/v1/certificates", ""); page.Total != 2 || page.Items[0].Serial != "5eed" {
		t.Errorf("certificates %+v", page)
	}
	if got := want[model.JoinToken](w, 200, "POST", one+"/revoke", ""); !got.Revoked {
		t.Errorf("revoked %+v", got)
	}

	// Who is deleted is out.
	m := want[model.Member](w, 201, "POST", "/api/v1/nodes", `{"name":"n10","cluster_id":1}`)
	if err := w.store.Admit(t.Context(), &model.Certificate{Serial: "def", Role: model.RoleNode, Name: "n10", TokenID: other.Token.ID, ExpiresAt: c.ExpiresAt}, w.now); err != nil {
		t.Fatal(err)
	}
	want[struct{}](w, 204, "DELETE", fmt.Sprint("/api/v1/nodes/", m.ID), "")
	if page := want[rest.Page[model.Certificate]](w, 200, "GET", "/api/v1/certificates?revoked=true&name=n10", ""); page.Total != 1 {
		t.Errorf("a deleted node's certificate is good: %+v", page)
	}
}

// Who lets hosts in and puts them out is root's to say, and is written down.
func TestJoinRights(t *testing.T) {
	w := newWorld(t)
	guest := w.token(w.user("gast", "guest").ID, "g", time.Hour, "*")
	narrow := w.token(1, "n", time.Hour, "nodes:write")
	for _, tt := range []struct{ method, path, body string }{
		{"GET", "/api/v1/join-tokens", ""},
		{"POST", "/api/v1/join-tokens", `{"role":"node","expires_in_seconds":60}`},
		{"POST", "/api/v1/join-tokens/1/revoke", ""},
		{"GET", "/api/v1/certificates", ""},
		{"POST", "/api/v1/certificates/revoke", `{"serial":"1"}`},
	} {
		for who, token := range map[string]string{"guest": guest, "a token without the scope": narrow, "nobody": ""} {
			before := len(w.audits())
			status := 403
			if token == "" {
				status = 401
			}
			if answer := w.do(request(tt.method, tt.path, token, tt.body)); answer.Code != status {
				t.Errorf("%s: %s %s: %d, want %d", who, tt.method, tt.path, answer.Code, status)
			}
			if audits := w.audits()[before:]; len(audits) != 1 || audits[0].Outcome != "refused" {
				t.Errorf("%s: %s %s: audits %+v", who, tt.method, tt.path, audits)
			}
		}
	}
	if page := want[rest.Page[model.JoinToken]](w, 200, "GET", "/api/v1/join-tokens", ""); page.Total != 0 {
		t.Errorf("tokens %+v", page)
	}
}
