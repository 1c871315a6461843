package rest_test

import (
	"crypto/rand"
	mathrand "math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/darter-p2p/darter/manager/model"
)

// FuzzAPI makes root's requests of the document, Harbor's paths included: whatever path,
// query, headers and body say, none is answered with 500, and each answer is one of the
// document.
func FuzzAPI(f *testing.F) {
	w := newWorld(f)
	w.URL = "" // else it would ask providers that it made up
	all := w.operations()
	for i := range all {
		for seed, hostile := range []string{"", "x' OR '1'='1'; --", "\x00\xff\r\nSet-Cookie: a=b", "../..%2f\\", "%zz&=;", "𝕏\u202e{{7*7}}${a}"} {
			f.Add(uint16(i), uint64(seed), hostile)
		}
	}
	f.Fuzz(func(t *testing.T, which uint16, seed uint64, hostile string) {
		w.t = t
		g := &generator{mathrand.New(mathrand.NewPCG(seed, uint64(which))), hostile, []int{0, 20, 5}[seed%3]}
		r, err := g.request(all[int(which)%len(all)], w.root)
		if err != nil {
			t.Skip("no request: ", err)
		}
		if answer := w.do(r); answer.Code >= http.StatusInternalServerError && answer.Code != http.StatusNotImplemented && answer.Code != http.StatusServiceUnavailable {
			t.Errorf("%s %s: %d %s", r.Method, r.URL, answer.Code, answer.Body)
		}
		// What the token was made for must outlive what root does to itself.
		if w.do(request("GET", "/api/v1/session", w.root, "")).Code != http.StatusOK {
			w.revive()
		}
	})
}

// revive makes root and its token anew, whatever became of them.
func (w *world) revive() {
	w.t.Helper()
	ctx := w.t.Context()
	u, err := w.store.UserByName(ctx, "root")
	if err != nil {
		u = &model.User{Name: "root", Roles: []string{model.RootRole}}
		err = w.store.CreateUser(ctx, u, w.now)
	} else {
		u.Roles, u.Disabled = []string{model.RootRole}, false
		err = w.store.UpdateUser(ctx, u, w.now)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.root = w.token(u.ID, "again-"+rand.Text(), time.Hour, "*")
}
