package access_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"go.uber.org/goleak"

	"github.com/darter-p2p/darter/manager/access"
	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/database/databasetest"
	"github.com/darter-p2p/darter/manager/model"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const password = "correct horse battery"

// cheap is a cost that tests can pay many times.
var cheap = access.Config{Cost: access.Cost{MemoryKiB: 8, Passes: 1}}

// world is a guard over an empty database, with a clock that stands.
type world struct {
	*access.Guard
	store *database.Store
	mu    sync.Mutex
	at    time.Time
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = w.at.Add(d)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	store, err := database.Open(t.Context(), databasetest.SQLite(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{store: store, at: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}
	w.Guard = access.New(cheap, store, w.now)
	return w
}

func (w *world) user(t *testing.T, name string, roles ...string) *model.User {
	t.Helper()
	hash, err := w.Hash(t.Context(), name, password)
	if err != nil {
		t.Fatal(err)
	}
	u := &model.User{Name: name, Roles: roles, PasswordHash: hash}
	if err := w.store.CreateUser(t.Context(), u, w.now()); err != nil {
		t.Fatal(err)
	}
	return u
}

func TestFirstAdministrator(t *testing.T) {
	w := newWorld(t)
	if _, _, err := w.FirstAdministrator(t.Context(), "short"); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a short password: %v", err)
	}
	made, random, err := w.FirstAdministrator(t.Context(), "")
	if err != nil || !made || len(random) < 20 {
		t.Fatalf("made %v, %q, %v", made, random, err)
	}
	if _, err := w.Password(t.Context(), "root", random, "10.0.0.1"); err != nil {
		t.Error(err)
	}
	if made, again, err := w.FirstAdministrator(t.Context(), password); made || again != "" || err != nil {
		t.Errorf("a second one: %v, %q, %v", made, again, err)
	}

	w = newWorld(t)
	if made, random, err := w.FirstAdministrator(t.Context(), password); !made || random != "" || err != nil {
		t.Errorf("with a password: %v, %q, %v", made, random, err)
	}
	if _, err := w.Password(t.Context(), "root", password, ""); err != nil {
		t.Error(err)
	}
}

func TestPasswords(t *testing.T) {
	w := newWorld(t)
	w.user(t, "root", "root")
	u := w.user(t, "eve", "guest")
	for _, tt := range []struct{ name, password string }{
		{"eve", "wrong"},
		{"eve", ""},
		{"Eve", password},
		{"nobody", password},
		{"", ""},
		{strings.Repeat("x", 1000), password},
		{"eve", strings.Repeat("x", 1<<20)},
	} {
		if a, err := w.Password(t.Context(), tt.name, tt.password, "10.0.0.1"); !errdefs.IsUnauthorized(err) {
			t.Errorf("%.20q %.20q: %v, %v", tt.name, tt.password, a, err)
		}
	}
	for _, bad := range []string{"", "elevenchars", strings.Repeat("x", 257), "\xff\xffxxxxxxxxxxxxxx"} {
		if err := w.SetPassword(t.Context(), u, bad); !errdefs.IsInvalidArgument(err) {
			t.Errorf("the new password %.20q: %v", bad, err)
		}
	}
	_, secret, _, err := w.SignIn(t.Context(), "eve", password, "10.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.SetPassword(t.Context(), u, "another password"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Session(t.Context(), secret); !errdefs.IsUnauthorized(err) {
		t.Errorf("a session of before the new password: %v", err)
	}
	if _, err := w.Password(t.Context(), "eve", password, ""); !errdefs.IsUnauthorized(err) {
		t.Errorf("the old password: %v", err)
	}
	u.Disabled = true
	if err := w.store.UpdateUser(t.Context(), u, w.now()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Password(t.Context(), "eve", "another password", ""); !errdefs.IsUnauthorized(err) {
		t.Errorf("a disabled user: %v", err)
	}
}

func TestSessions(t *testing.T) {
	w := newWorld(t)
	w.user(t, "eve", "guest")
	_, secret, session, err := w.SignIn(t.Context(), "eve", password, "")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(session.Hash, secret) {
		t.Error("the database knows the secret")
	}
	if a, err := w.Session(t.Context(), secret); err != nil || a.String() != "eve" || a.Kind() != "user" {
		t.Errorf("%v, %v", a, err)
	}
	for _, bad := range []string{"", "das_", secret + "x", secret[:len(secret)-1] + "~", strings.Replace(secret, "das_", "dat_", 1)} {
		if _, err := w.Session(t.Context(), bad); !errdefs.IsUnauthorized(err) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	w.pass(access.SessionLength)
	if _, err := w.Session(t.Context(), secret); !errdefs.IsUnauthorized(err) {
		t.Errorf("after its end: %v", err)
	}
	_, secret, _, err = w.SignIn(t.Context(), "eve", password, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.SignOut(t.Context(), secret); err != nil {
		t.Error(err)
	}
	if _, err := w.Session(t.Context(), secret); !errdefs.IsUnauthorized(err) {
		t.Errorf("after the sign-out: %v", err)
	}
}

func TestTokens(t *testing.T) {
	w := newWorld(t)
	u := w.user(t, "eve", "root")
	secret, token, err := w.NewToken(t.Context(), u.ID, "ci", []string{"jobs:write", "clusters:read"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	a, err := w.Bearer(t.Context(), secret)
	if err != nil || a.String() != "eve/ci" || a.Kind() != "token" {
		t.Fatalf("%v, %v", a, err)
	}
	for _, tt := range []struct {
		object, action string
		ok             bool
	}{
		{"jobs", model.Write, true},
		{"jobs", model.Read, true},
		{"clusters", model.Read, true},
		{"clusters", model.Write, false},
		{"users", model.Read, false},
		{"tokens", model.Write, false},
	} {
		if err := w.May(t.Context(), a, tt.object, tt.action, true); (err == nil) != tt.ok {
			t.Errorf("%s %s: %v", tt.object, tt.action, err)
		}
	}
	for _, bad := range [][]string{nil, {"jobs"}, {"jobs:delete"}, {"nothing:read"}, {""}} {
		if _, _, err := w.NewToken(t.Context(), u.ID, "bad", bad, time.Hour); !errdefs.IsInvalidArgument(err) {
			t.Errorf("scopes %q: %v", bad, err)
		}
	}
	if _, _, err := w.NewToken(t.Context(), u.ID, "bad", []string{"*"}, 0); !errdefs.IsInvalidArgument(err) {
		t.Errorf("no life: %v", err)
	}
	w.pass(time.Hour)
	if _, err := w.Bearer(t.Context(), secret); !errdefs.IsUnauthorized(err) {
		t.Errorf("expired: %v", err)
	}
	w.pass(-time.Minute)
	if err := w.store.RevokeToken(t.Context(), token.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Bearer(t.Context(), secret); !errdefs.IsUnauthorized(err) {
		t.Errorf("revoked: %v", err)
	}
}

func TestRoles(t *testing.T) {
	w := newWorld(t)
	ops := &model.AccessRole{Name: "ops", Permissions: []model.Permission{{Object: "jobs", Action: model.Write}, {Object: "users", Action: model.Read}}}
	// A role of the name of a built-in one must not change that.
	evil := &model.AccessRole{Name: "guest", Permissions: []model.Permission{{Object: "*", Action: model.Write}}}
	for _, r := range []*model.AccessRole{ops, evil} {
		if err := w.store.CreateRole(t.Context(), r, w.now()); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		roles          string
		object, action string
		own            bool
		ok             bool
	}{
		{"root", "users", model.Write, false, true},
		{"root", "anything", model.Write, false, true},
		{"guest", "clusters", model.Read, false, true},
		{"guest", "clusters", model.Write, false, false},
		{"guest", "users", model.Read, false, false},
		{"guest", "users", model.Read, true, true},
		{"guest", "tokens", model.Write, true, true},
		{"guest", "tokens", model.Write, false, false},
		{"guest", "audits", model.Read, false, false},
		{"guest", "providers", model.Read, false, false},
		{"ops", "jobs", model.Write, false, true},
		{"ops", "jobs", model.Read, false, true},
		{"ops", "clusters", model.Read, false, false},
		{"ops,guest", "clusters", model.Read, false, true},
		{"ops", "users", model.Write, false, false},
		{"", "clusters", model.Read, false, false},
		{"", "tokens", model.Write, true, true},
		{"gone", "jobs", model.Read, false, false},
		{"*", "jobs", model.Read, false, false},
	} {
		a := &access.Actor{User: &model.User{Name: "u", Roles: strings.Split(tt.roles, ",")}}
		err := w.May(t.Context(), a, tt.object, tt.action, tt.own)
		if (err == nil) != tt.ok || err != nil && !errdefs.IsPermissionDenied(err) {
			t.Errorf("%q %s %s own=%v: %v", tt.roles, tt.object, tt.action, tt.own, err)
		}
	}
	if err := w.May(t.Context(), nil, "clusters", model.Read, false); !errdefs.IsUnauthorized(err) {
		t.Errorf("nobody: %v", err)
	}
	a := &access.Actor{User: &model.User{Name: "u", Roles: []string{"ops"}}}
	ops.Permissions = nil
	if err := w.store.UpdateRole(t.Context(), ops, w.now()); err != nil {
		t.Fatal(err)
	}
	w.RolesChanged()
	if err := w.May(t.Context(), a, "jobs", model.Read, false); !errdefs.IsPermissionDenied(err) {
		t.Errorf("after the role was changed: %v", err)
	}
	if err := w.CheckRoles(t.Context(), []string{"root", "ops"}); err != nil {
		t.Error(err)
	}
	if err := w.CheckRoles(t.Context(), []string{"gone"}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a role that is not there: %v", err)
	}
}

func TestBruteForce(t *testing.T) {
	w := newWorld(t)
	w.user(t, "eve", "guest")
	fail := func(name, remote string) error {
		_, err := w.Password(t.Context(), name, "wrong", remote)
		return err
	}
	for i := range 10 {
		if err := fail("eve", "10.0.0.1"); !errdefs.IsUnauthorized(err) {
			t.Fatalf("failure %d: %v", i, err)
		}
	}
	var many *access.TooMany
	if _, err := w.Password(t.Context(), "eve", password, "10.0.0.1"); !errors.As(err, &many) || many.After != 15*time.Minute {
		t.Fatalf("after ten failures: %v", err)
	}
	if _, err := w.Password(t.Context(), "eve", password, "10.0.0.2"); err != nil {
		t.Errorf("from elsewhere: %v", err)
	}
	w.pass(15 * time.Minute)
	if _, err := w.Password(t.Context(), "eve", password, "10.0.0.1"); err != nil {
		t.Errorf("after the window: %v", err)
	}
	// One address that tries many names.
	refused := 0
	for i := range 60 {
		if errors.As(fail("name"+strings.Repeat("x", i), "2001:db8::1"), &many) {
			refused++
		}
	}
	if refused != 10 {
		t.Errorf("%d of 60 tries with as many names were slowed down, want 10", refused)
	}
	if err := fail("other", "2001:db8::ffff:1"); !errors.As(err, &many) {
		t.Errorf("another address of the same subnet: %v", err)
	}
	// Many at once are no way around.
	w.pass(time.Hour)
	var wait sync.WaitGroup
	var mu sync.Mutex
	through := 0
	for range 15 {
		wait.Go(func() {
			if errdefs.IsUnauthorized(fail("eve", "10.0.0.9")) {
				mu.Lock()
				through++
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	if through != 10 {
		t.Errorf("%d of 15 tries at once were let through, want 10", through)
	}
}

// A password keeps its hash of another cost until its user signs in.
func TestCost(t *testing.T) {
	w := newWorld(t)
	w.user(t, "root", "root")
	u := w.user(t, "eve", "guest")
	dearer := access.New(access.Config{Cost: access.Cost{MemoryKiB: 16, Passes: 2}}, w.store, w.now)
	for range 2 {
		if _, err := dearer.Password(t.Context(), "eve", password, ""); err != nil {
			t.Fatal(err)
		}
		got, err := w.store.User(t.Context(), u.ID)
		if err != nil || !strings.Contains(got.PasswordHash, "$m=16,t=2,p=1$") {
			t.Errorf("%q, %v", got.PasswordHash, err)
		}
	}
	if _, err := dearer.Password(t.Context(), "eve", "wrong", ""); !errdefs.IsUnauthorized(err) {
		t.Error(err)
	}
	for _, bad := range []string{"", "x", "$argon2id$v=19$m=99999999,t=2,p=1$AAAA$AAAA", "$argon2id$v=19$m=16,t=0,p=1$AAAAAAAAAAAAAAAAAAAAAA$" + strings.Repeat("A", 43)} {
		u.PasswordHash = bad
		if err := w.store.UpdateUser(t.Context(), u, w.now()); err != nil {
			t.Fatal(err)
		}
		if _, err := dearer.Password(t.Context(), "eve", password, ""); !errdefs.IsUnauthorized(err) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if err := access.Default().Validate(); err != nil {
		t.Error(err)
	}
	for _, bad := range []access.Cost{{}, {MemoryKiB: 8}, {MemoryKiB: 2 << 20, Passes: 1}, {MemoryKiB: 8, Passes: 101}} {
		if err := (access.Config{Cost: bad}).Validate(); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
