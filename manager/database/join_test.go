package database_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/model"
)

// certificate is a node's, of a token, for a week.
func certificate(serial, name string, token int64) *model.Certificate {
	return &model.Certificate{Serial: serial, Role: model.RoleNode, Name: name, TokenID: token, KeyHash: serial + name, ExpiresAt: model.At(now.Add(7 * 24 * time.Hour))}
}

func joinToken(t *testing.T, s *database.Store, hash string, uses int64, at time.Time) *model.JoinToken {
	t.Helper()
	j := &model.JoinToken{Hash: hash, Role: model.RoleNode, Author: "root", Comment: "Größe", Uses: uses, UsesLeft: uses, ExpiresAt: model.At(at.Add(time.Hour))}
	check(t, s.CreateJoinToken(t.Context(), j, at))
	return j
}

func testJoinTokens(t *testing.T, open open) {
	ctx, s := t.Context(), open(t)
	j := joinToken(t, s, "h1", 2, now)
	got, err := s.JoinTokenByHash(ctx, "h1")
	check(t, err)
	if *got != *j {
		t.Errorf("read %+v, wrote %+v", got, j)
	}
	_, err = s.JoinTokenByHash(ctx, "h2")
	want(t, errdefs.IsNotFound, err)
	check(t, s.Admit(ctx, certificate("a1", "a", j.ID), now))
	want(t, errdefs.IsAlreadyExists, s.Admit(ctx, certificate("a2", "a", j.ID), now))
	again := certificate("a3", "a", j.ID)
	again.KeyHash = certificate("a1", "a", 0).KeyHash
	check(t, s.Admit(ctx, again, now))
	check(t, s.Admit(ctx, certificate("b1", "b", j.ID), now))
	want(t, errdefs.IsNotFound, s.Admit(ctx, certificate("c1", "c", j.ID), now)) // used up
	want(t, errdefs.IsNotFound, s.Admit(ctx, certificate("c1", "c", 77), now))

	other := joinToken(t, s, "h3", 5, now)
	want(t, errdefs.IsNotFound, s.Admit(ctx, certificate("c1", "c", other.ID), now.Add(time.Hour)))
	check(t, s.RevokeJoinToken(ctx, other.ID))
	want(t, errdefs.IsNotFound, s.Admit(ctx, certificate("c1", "c", other.ID), now))
	want(t, errdefs.IsNotFound, s.RevokeJoinToken(ctx, 77))
	if got, err := database.Get[model.JoinToken](ctx, s, other.ID); err != nil || got.UsesLeft != 5 {
		t.Errorf("refusals took uses: %+v, %v", got, err)
	}
	check(t, s.Sweep(ctx, now.Add(32*24*time.Hour), time.Time{}, time.Time{}))
	if _, total, err := database.List[model.JoinToken](ctx, s, database.Query{}); err != nil || total != 0 {
		t.Errorf("%d tokens are left after a month, %v", total, err)
	}
}

func testCertificates(t *testing.T, open open) {
	ctx, s := t.Context(), open(t)
	j := joinToken(t, s, "h1", 9, now)
	check(t, s.Admit(ctx, certificate("a1", "a", j.ID), now))
	next := certificate("a2", "a", 0)
	check(t, s.Renew(ctx, "a1", next, now.Add(time.Minute)))
	if next.TokenID != j.ID {
		t.Errorf("renewed: %+v", next)
	}
	want(t, errdefs.IsNotFound, s.Renew(ctx, "ff", certificate("a3", "a", 0), now))
	want(t, errdefs.IsNotFound, s.Renew(ctx, "a1", certificate("b3", "b", 0), now)) // another's
	before, err := s.Revision(ctx)
	check(t, err)
	out, err := s.RevokeMember(ctx, model.RoleNode, "a", "root", now.Add(2*time.Minute))
	check(t, err)
	if len(out) != 2 || out[0].Serial != "a1" || out[0].RevokedBy != "root" || out[1].RevokedAt.IsZero() {
		t.Errorf("revoked %+v", out)
	}
	if after, err := s.Revision(ctx); err != nil || after == before {
		t.Errorf("members would not hear of it: %+v, %v", after, err)
	}
	want(t, errdefs.IsPermissionDenied, s.Renew(ctx, "a2", certificate("a4", "a", 0), now))
	want(t, errdefs.IsPermissionDenied, s.Admit(ctx, certificate("a5", "a", j.ID), now.Add(time.Hour/2)))
	fresh := joinToken(t, s, "h2", 1, now.Add(3*time.Minute))
	check(t, s.Admit(ctx, certificate("a6", "a", fresh.ID), now.Add(4*time.Minute)))

	c, err := s.RevokeSerial(ctx, "5eed", "root", now, now.Add(365*24*time.Hour))
	check(t, err)
	if c.Name != "" || c.RevokedBy != "root" {
		t.Errorf("by its number: %+v", c)
	}
	c, err = s.RevokeSerial(ctx, "a6", "eve", now.Add(5*time.Minute), now)
	check(t, err)
	if c.Name != "a" || !c.ExpiresAt.Equal(certificate("", "", 0).ExpiresAt.Time) {
		t.Errorf("a member's, by its number: %+v", c)
	}
	if again, err := s.RevokeSerial(ctx, "a6", "bob", now.Add(6*time.Minute), now); err != nil || again.RevokedBy != "eve" {
		t.Errorf("revoked twice: %+v, %v", again, err)
	}
	serials, err := s.Revoked(ctx, now.Add(time.Hour))
	check(t, err)
	if !slices.Equal(serials, []string{"5eed", "a1", "a2", "a6"}) {
		t.Errorf("revoked %q", serials)
	}
	if serials, err = s.Revoked(ctx, now.Add(8*24*time.Hour)); err != nil || !slices.Equal(serials, []string{"5eed"}) {
		t.Errorf("a week later %q, %v", serials, err)
	}
}

// A host that renews while it is revoked does not get away with a new certificate, and a
// token is good for no more hosts than it says.
func testJoinRaces(t *testing.T, open open) {
	ctx, s := t.Context(), open(t)
	j := joinToken(t, s, "h1", 3, now)
	var all sync.WaitGroup
	var mu sync.Mutex
	in := 0
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		all.Go(func() {
			err := s.Admit(ctx, certificate(name+"1", name, j.ID), now)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				in++
			case !errdefs.IsNotFound(err):
				t.Errorf("admit: %v", err)
			}
		})
	}
	all.Wait()
	if in != 3 {
		t.Errorf("%d hosts joined with a token for 3", in)
	}
	many := joinToken(t, s, "h2", 1, now)
	check(t, s.Admit(ctx, certificate("10", "x", many.ID), now))
	all.Go(func() {
		for _, serial := range []string{"11", "12", "13", "14"} {
			if err := s.Renew(ctx, "10", certificate(serial, "x", 0), now); err != nil && !errdefs.IsPermissionDenied(err) {
				t.Errorf("renew: %v", err)
			}
		}
	})
	var err error
	all.Go(func() {
		_, e := s.RevokeMember(ctx, model.RoleNode, "x", "root", now.Add(time.Second))
		err = errors.Join(err, e)
	})
	all.Wait()
	check(t, err)
	rows, _, err := database.List[model.Certificate](ctx, s, database.Query{Where: map[string]any{"name": "x"}})
	check(t, err)
	for _, c := range rows {
		if c.RevokedAt.IsZero() {
			t.Errorf("certificate %s was not revoked", c.Serial)
		}
	}
}

func testAuthorities(t *testing.T, open open) {
	ctx, s, other := t.Context(), open(t), open(t)
	check(t, s.Authority(ctx, "aa", now))
	check(t, other.Authority(ctx, "aa", now))
	want(t, errdefs.IsFailedPrecondition, other.Authority(ctx, "bb", now))
}
