package database_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/model"
)

func newCluster(t *testing.T, s *database.Store, name string) *model.Cluster {
	t.Helper()
	c := &model.Cluster{Name: name}
	check(t, s.CreateCluster(t.Context(), c, now))
	return c
}

func testClusters(t *testing.T, open open) {
	ctx, s := t.Context(), open(t)
	c := &model.Cluster{
		Name:          "prod",
		Description:   "Größe 😀 \"quoted\" '; DROP TABLE clusters; --",
		Scopes:        model.Scopes{CIDRs: []string{"10.0.0.0/8"}, Hostnames: []string{`^a.*\d`}, IDCs: []string{"z1"}, Location: "r|z"},
		Default:       true,
		JobsPerMinute: 7,
	}
	check(t, s.CreateCluster(ctx, c, now))
	if c.ID == 0 {
		t.Fatal("no identity")
	}
	got, err := database.Get[model.Cluster](ctx, s, c.ID)
	check(t, err)
	if !reflect.DeepEqual(got, c) {
		t.Errorf("read %+v, wrote %+v", got, c)
	}
	want(t, errdefs.IsAlreadyExists, s.CreateCluster(ctx, &model.Cluster{Name: "prod"}, now))

	got.Default, got.Description, got.Scopes = false, "", model.Scopes{}
	check(t, s.UpdateCluster(ctx, got, now.Add(time.Second)))
	again, err := s.ClusterByName(ctx, "prod")
	check(t, err)
	if again.Default || again.Description != "" || again.CreatedAt != c.CreatedAt || !again.UpdatedAt.Equal(c.UpdatedAt.Add(time.Second)) {
		t.Errorf("after the update: %+v", again)
	}
	newCluster(t, s, "other")
	got.Name = "other"
	want(t, errdefs.IsAlreadyExists, s.UpdateCluster(ctx, got, now))
	want(t, errdefs.IsNotFound, s.UpdateCluster(ctx, &model.Cluster{ID: 999, Name: "x"}, now))
	_, err = database.Get[model.Cluster](ctx, s, 999)
	want(t, errdefs.IsNotFound, err)

	m := &model.Member{Role: model.RoleNode, Name: "n", ClusterID: c.ID, State: model.Active}
	check(t, s.CreateMember(ctx, m, now))
	want(t, errdefs.IsFailedPrecondition, s.DeleteCluster(ctx, c.ID))
	check(t, s.DeleteMember(ctx, m.ID))
	check(t, s.DeleteCluster(ctx, c.ID))
	want(t, errdefs.IsNotFound, s.DeleteCluster(ctx, c.ID))
}

// Names that differ only in case, as MySQL's usual collations would not see it.
func testNames(t *testing.T, open open) {
	ctx, s := t.Context(), open(t)
	newCluster(t, s, "prod")
	newCluster(t, s, "Prod")
	c, err := s.ClusterByName(ctx, "Prod")
	check(t, err)
	if c.Name != "Prod" {
		t.Errorf("found %q", c.Name)
	}
	_, err = s.ClusterByName(ctx, "PROD")
	want(t, errdefs.IsNotFound, err)
}

func testList(t *testing.T, open open) {
	ctx, s := t.Context(), open(t)
	for i := range 7 {
		newCluster(t, s, fmt.Sprintf("c%d_a", i))
	}
	newCluster(t, s, "UPPER-x")
	for _, tt := range []struct {
		q     database.Query
		names string
		total int64
	}{
		{database.Query{}, "c0_a c1_a c2_a c3_a c4_a c5_a c6_a UPPER-x", 8},
		{database.Query{Limit: 2, Offset: 3}, "c3_a c4_a", 8},
		{database.Query{Limit: 2, Offset: 99}, "", 8},
		{database.Query{Limit: 2, Newest: true}, "UPPER-x c6_a", 8},
		{database.Query{Where: map[string]any{"name": "c1_a", "is_default": false}}, "c1_a", 1},
		{database.Query{Where: map[string]any{"name": "c1_a' OR '1'='1"}}, "", 0},
		{database.Query{Search: "upper"}, "UPPER-x", 1},
		{database.Query{Search: "5_A"}, "c5_a", 1},
		{database.Query{Search: "_"}, "c0_a c1_a c2_a c3_a c4_a c5_a c6_a", 7},
		{database.Query{Search: "%"}, "", 0},
		{database.Query{Search: "!'\\"}, "", 0},
	} {
		rows, total, err := database.List[model.Cluster](ctx, s, tt.q)
		check(t, err)
		var names []string
		for _, c := range rows {
			names = append(names, c.Name)
		}
		if got := strings.Join(names, " "); got != tt.names || total != tt.total {
			t.Errorf("%+v: %q of %d, want %q of %d", tt.q, got, total, tt.names, tt.total)
		}
	}
}

func testMembers(t *testing.T, open open) {
	ctx, s := t.Context(), open(t)
	c := newCluster(t, s, "prod")
	m := model.Member{Role: model.RoleScheduler, Name: "s1", ClusterID: c.ID, Address: "10.0.0.1:8002", IDC: "z"}
	check(t, s.ConnectMember(ctx, &m, now))
	first := m.ID
	again := model.Member{Role: model.RoleScheduler, Name: "s1", ClusterID: c.ID, Address: "10.0.0.2:8002"}
	check(t, s.ConnectMember(ctx, &again, now.Add(time.Minute)))
	if again.ID != first || again.CreatedAt != m.CreatedAt {
		t.Errorf("connected twice: %+v, then %+v", m, again)
	}
	same := model.Member{Role: model.RoleSeed, Name: "s1", ClusterID: c.ID}
	check(t, s.ConnectMember(ctx, &same, now)) // the name of another role is another name

	active, err := s.ActiveSchedulers(ctx)
	check(t, err)
	if len(active[c.ID]) != 1 || active[c.ID][0].Address != "10.0.0.2:8002" {
		t.Errorf("schedulers %+v", active)
	}
	n, err := s.ExpireMembers(ctx, now.Add(time.Minute), now.Add(2*time.Minute))
	check(t, err)
	if n != 1 {
		t.Errorf("%d expired, want the seed", n)
	}
	check(t, s.SeenMembers(ctx, []database.Sighting{{ID: same.ID, ConfigVersion: 5}, {ID: first}, {ID: 12345}}, now.Add(time.Hour)))
	got, err := s.MemberByName(ctx, model.RoleSeed, "s1")
	check(t, err)
	if got.State != model.Active || got.ConfigVersion != 5 || !got.SeenAt.Equal(model.At(now.Add(time.Hour)).Time) {
		t.Errorf("seen again: %+v", got)
	}
	// Many that connect at once, some by the same name.
	var wait sync.WaitGroup
	failed := make(chan error, 16)
	for i := range 16 {
		wait.Go(func() {
			m := model.Member{Role: model.RoleNode, Name: fmt.Sprintf("n%d", i/2), ClusterID: c.ID}
			failed <- s.ConnectMember(ctx, &m, now)
		})
	}
	wait.Wait()
	close(failed)
	for err := range failed {
		check(t, err)
	}
	_, total, err := database.List[model.Member](ctx, s, database.Query{Where: map[string]any{"role": model.RoleNode}})
	check(t, err)
	if total != 8 {
		t.Errorf("%d nodes, want 8", total)
	}
}

func ptr(v int64) *int64 { return &v }

func testConfigurations(t *testing.T, open open) {
	ctx, s := t.Context(), open(t)
	c := newCluster(t, s, "prod")
	before, err := s.Revision(ctx)
	check(t, err)
	version, _, err := s.Effective(ctx, c.ID)
	check(t, err)
	if version != 0 {
		t.Errorf("version %d of nothing", version)
	}
	put := func(cluster, based int64, settings model.Settings) *model.Configuration {
		t.Helper()
		out := &model.Configuration{ClusterID: cluster, Settings: settings, Author: "root"}
		check(t, s.AppendConfiguration(ctx, out, based, now))
		return out
	}
	one := put(0, 0, model.Settings{
		Limits: model.Limits{Upload: ptr(100 << 20), Task: ptr(7 << 20)},
		Block:  model.Block{Tags: []string{"b", "a"}},
	})
	two := put(c.ID, 0, model.Settings{Limits: model.Limits{Upload: ptr(0)}, Block: model.Block{Tags: []string{"c", "a"}}})
	want(t, errdefs.IsFailedPrecondition, s.AppendConfiguration(ctx, &model.Configuration{ClusterID: c.ID}, one.ID, now))
	want(t, errdefs.IsNotFound, s.AppendConfiguration(ctx, &model.Configuration{ClusterID: 99}, -1, now))
	version, got, err := s.Effective(ctx, c.ID)
	check(t, err)
	if version != two.ID || *got.Limits.Upload != 0 || *got.Limits.Task != 7<<20 || !slices.Equal(got.Block.Tags, []string{"a", "b", "c"}) {
		t.Errorf("version %d: %+v", version, got)
	}
	three := put(c.ID, two.ID, model.Settings{Limits: model.Limits{Upload: ptr(5 << 20)}})
	back, err := s.Rollback(ctx, two.ID, "eve", now)
	check(t, err)
	if back.ID <= three.ID || back.Author != "eve" || *back.Settings.Limits.Upload != 0 {
		t.Errorf("rolled back: %+v", back)
	}
	_, err = s.Rollback(ctx, 999, "eve", now)
	want(t, errdefs.IsNotFound, err)
	after, err := s.Revision(ctx)
	check(t, err)
	if after == before {
		t.Error("the revision stays")
	}
}

// Of many that change the same version exactly one succeeds.
func testConfigurationRace(t *testing.T, open open) {
	ctx := t.Context()
	stores := []*database.Store{open(t), open(t)}
	c := newCluster(t, stores[0], "prod")
	for _, cluster := range []int64{0, c.ID} {
		results := together(8, func(i int) error {
			out := &model.Configuration{ClusterID: cluster, Author: "x"}
			return stores[i%2].AppendConfiguration(ctx, out, 0, now)
		})
		won := 0
		for _, err := range results {
			if err == nil {
				won++
			} else {
				want(t, errdefs.IsFailedPrecondition, err)
			}
		}
		if won != 1 {
			t.Errorf("cluster %d: %d won: %v", cluster, won, results)
		}
	}
}

// together calls f n times at once.
func together(n int, f func(int) error) []error {
	var wait sync.WaitGroup
	out := make([]error, n)
	for i := range n {
		wait.Go(func() { out[i] = f(i) })
	}
	wait.Wait()
	return out
}

func testUsers(t *testing.T, open open) {
	ctx := t.Context()
	stores := []*database.Store{open(t), open(t)}
	made := make([]bool, 8)
	for _, err := range together(8, func(i int) (err error) {
		made[i], err = stores[i%2].CreateFirstUser(ctx, &model.User{Name: fmt.Sprintf("u%d", i), Roles: []string{model.RootRole}}, now)
		return err
	}) {
		check(t, err)
	}
	s := stores[0]
	users, total, err := database.List[model.User](ctx, s, database.Query{})
	check(t, err)
	if total != 1 {
		t.Fatalf("%d first users: %+v", total, users)
	}
	u := &model.User{Name: "eve", Roles: []string{"guest"}, PasswordHash: "h", Subject: "dex 123", Email: "e@x"}
	check(t, s.CreateUser(ctx, u, now))
	want(t, errdefs.IsAlreadyExists, s.CreateUser(ctx, &model.User{Name: "eve"}, now))
	for _, find := range []func() (*model.User, error){
		func() (*model.User, error) { return s.UserByName(ctx, "eve") },
		func() (*model.User, error) { return s.UserBySubject(ctx, "dex 123") },
		func() (*model.User, error) { return s.User(ctx, u.ID) },
	} {
		got, err := find()
		check(t, err)
		if !reflect.DeepEqual(got, u) {
			t.Errorf("read %+v, wrote %+v", got, u)
		}
	}
	_, err = s.UserBySubject(ctx, "")
	want(t, errdefs.IsNotFound, err)

	session := &model.Session{UserID: u.ID, Hash: "abc", CreatedAt: model.At(now), ExpiresAt: model.At(now.Add(time.Hour))}
	check(t, s.CreateSession(ctx, session))
	got, err := s.SessionByHash(ctx, "abc")
	check(t, err)
	if !reflect.DeepEqual(got, session) {
		t.Errorf("read %+v, wrote %+v", got, session)
	}
	check(t, s.Sweep(ctx, now.Add(59*time.Minute), time.Time{}, time.Time{}))
	_, err = s.SessionByHash(ctx, "abc")
	check(t, err)
	check(t, s.Sweep(ctx, now.Add(61*time.Minute), time.Time{}, time.Time{}))
	_, err = s.SessionByHash(ctx, "abc")
	want(t, errdefs.IsNotFound, err)
	check(t, s.DeleteUser(ctx, u.ID))
	want(t, errdefs.IsNotFound, s.DeleteUser(ctx, u.ID))
}

// Two roots that delete or demote each other at once: one stays.
func testLastRoot(t *testing.T, open open) {
	ctx := t.Context()
	stores := []*database.Store{open(t), open(t)}
	a := &model.User{Name: "a", Roles: []string{model.RootRole}}
	b := &model.User{Name: "b", Roles: []string{model.RootRole}}
	check(t, stores[0].CreateUser(ctx, a, now))
	check(t, stores[0].CreateUser(ctx, b, now))
	errs := together(2, func(i int) error {
		if i == 0 {
			return stores[0].DeleteUser(ctx, a.ID)
		}
		demoted := *b
		demoted.Disabled = true
		return stores[1].UpdateUser(ctx, &demoted, now)
	})
	if (errs[0] == nil) == (errs[1] == nil) {
		t.Fatalf("both did, or neither: %v", errs)
	}
	want(t, errdefs.IsFailedPrecondition, errors.Join(errs...))
}

func testRoles(t *testing.T, open open) {
	ctx, s := t.Context(), open(t)
	r := &model.AccessRole{Name: "ops", Permissions: []model.Permission{{Object: "jobs", Action: model.Write}}}
	check(t, s.CreateRole(ctx, r, now))
	want(t, errdefs.IsAlreadyExists, s.CreateRole(ctx, &model.AccessRole{Name: "ops"}, now))
	check(t, s.CreateUser(ctx, &model.User{Name: "u", Roles: []string{"ops"}}, now))
	want(t, errdefs.IsFailedPrecondition, s.DeleteRole(ctx, "ops"))
	r.Description = "changed"
	check(t, s.UpdateRole(ctx, r, now))
	want(t, errdefs.IsNotFound, s.UpdateRole(ctx, &model.AccessRole{Name: "none"}, now))
	roles, err := s.Roles(ctx)
	check(t, err)
	if len(roles) != 1 || !reflect.DeepEqual(roles[0], *r) {
		t.Errorf("roles %+v, want %+v", roles, r)
	}
	check(t, s.CreateRole(ctx, &model.AccessRole{Name: "unused"}, now))
	check(t, s.DeleteRole(ctx, "unused"))
	want(t, errdefs.IsNotFound, s.DeleteRole(ctx, "unused"))
}

func testTokens(t *testing.T, open open) {
	ctx, s := t.Context(), open(t)
	token := &model.AccessToken{UserID: 3, Name: "ci", Hash: "ff", Scopes: []string{"jobs:write"}, ExpiresAt: model.At(now)}
	check(t, s.CreateToken(ctx, token, now))
	want(t, errdefs.IsAlreadyExists, s.CreateToken(ctx, &model.AccessToken{UserID: 3, Name: "ci", Hash: "aa"}, now))
	check(t, s.UseToken(ctx, token.ID, now.Add(time.Second)))
	check(t, s.RevokeToken(ctx, token.ID))
	got, err := s.TokenByHash(ctx, "ff")
	check(t, err)
	if !got.Revoked || !got.UsedAt.Equal(model.At(now.Add(time.Second)).Time) || got.Scopes[0] != "jobs:write" {
		t.Errorf("token %+v", got)
	}
	check(t, s.DeleteToken(ctx, token.ID))
	want(t, errdefs.IsNotFound, s.RevokeToken(ctx, token.ID))
	_, err = s.TokenByHash(ctx, "ff")
	want(t, errdefs.IsNotFound, err)
}

func testAudits(t *testing.T, open open) {
	ctx, s := t.Context(), open(t)
	for i := range 5 {
		check(t, s.WriteAudit(ctx, &model.Audit{At: model.At(now.Add(time.Duration(i) * time.Hour)), Actor: fmt.Sprint("u", i%2), Outcome: "ok"}))
	}
	rows, total, err := database.List[model.Audit](ctx, s, database.Query{
		After: model.At(now.Add(time.Hour)), Until: model.At(now.Add(4 * time.Hour)), Where: map[string]any{"actor": "u1"}, Newest: true,
	})
	check(t, err)
	if total != 2 || !rows[0].At.Equal(model.At(now.Add(3*time.Hour)).Time) {
		t.Errorf("%d: %+v", total, rows)
	}
	check(t, s.Sweep(ctx, now, now.Add(2*time.Hour), time.Time{}))
	if _, total, _ = database.List[model.Audit](ctx, s, database.Query{}); total != 3 {
		t.Errorf("%d left after the sweep, want 3", total)
	}
}

func testProviders(t *testing.T, open open) {
	ctx, s := t.Context(), open(t)
	p := &model.Provider{Name: "dex", Issuer: "https://dex", ClientID: "c", ClientSecret: "s", Scopes: []string{"email"}, Roles: []string{"guest"}}
	check(t, s.CreateProvider(ctx, p, now))
	got, err := s.ProviderByName(ctx, "dex")
	check(t, err)
	if !reflect.DeepEqual(got, p) {
		t.Errorf("read %+v, wrote %+v", got, p)
	}
	p.Issuer = "https://other"
	check(t, s.UpdateProvider(ctx, p, now))
	check(t, s.DeleteProvider(ctx, p.ID))

	a := &model.Application{Name: "web", Priority: 3, URLs: []model.URLPriority{{Pattern: "x", Priority: 1}}}
	check(t, s.CreateApplication(ctx, a, now))
	a.Priority = 0
	check(t, s.UpdateApplication(ctx, a, now))
	read, err := database.Get[model.Application](ctx, s, a.ID)
	check(t, err)
	if !reflect.DeepEqual(read, a) {
		t.Errorf("read %+v, wrote %+v", read, a)
	}
	check(t, s.DeleteApplication(ctx, a.ID))
}

// Replicas that start together on an empty database all find it ready; the schema is
// there once; a newer one is refused.
func testMigrations(t *testing.T, open open) {
	t.Run("together", func(t *testing.T) {
		var wait sync.WaitGroup
		for range 3 {
			wait.Go(func() { open(t) })
		}
		wait.Wait()
	})
	s := open(t)
	newCluster(t, s, "kept")
	s = open(t)
	if _, err := s.ClusterByName(t.Context(), "kept"); err != nil {
		t.Error(err)
	}
	check(t, s.Ping(t.Context()))
	ended, stop := context.WithCancel(t.Context())
	stop()
	if err := s.CreateCluster(ended, &model.Cluster{Name: "never"}, now); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of the context: %v", err)
	}
}
