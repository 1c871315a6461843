package ca

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/internal/join"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/internal/serve/rpc"
	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/database/databasetest"
	"github.com/darter-p2p/darter/manager/model"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// office is a manager that hosts join at.
type office struct {
	*Authority
	t     *testing.T
	store *database.Store
	id    *pki.Identity
	addr  string

	mu   sync.Mutex
	skew time.Duration
}

func (o *office) clock() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return time.Now().Add(o.skew)
}

// later moves the manager's clock on.
func (o *office) later(d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.skew += d
}

func open(t *testing.T) *office {
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
	authority, err := pki.CreateCA("test", time.Now(), 30*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	o := &office{t: t, store: store}
	if o.Authority, err = New(t.Context(), Default(), authority, store, o.clock); err != nil {
		t.Fatal(err)
	}
	if o.id, err = authority.Identity(pki.Manager, "m1"); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.addr = l.Addr().String()
	server := grpc.NewServer(grpc.Creds(o.id.Guard(o.ServerTLS(o.id))))
	o.Register(server)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- rpc.Serve(ctx, server, l, 0, nil) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return o
}

// token makes a token of an hour.
func (o *office) token(role pki.Role, uses int64) (string, *model.JoinToken) {
	o.t.Helper()
	row := &model.JoinToken{Role: model.Role(role), Uses: uses, Author: "test"}
	secret, err := o.NewToken(o.t.Context(), row, time.Hour)
	if err != nil {
		o.t.Fatal(err)
	}
	return secret, row
}

// host is a node that joins with a token.
func (o *office) host(name, token string) join.Host {
	o.t.Helper()
	dir := o.t.TempDir()
	h := join.Host{
		Address: o.addr,
		Config:  join.Config{TokenFile: filepath.Join(dir, "token"), Name: name}, Role: pki.Node,
		Files: pki.Files{CA: filepath.Join(dir, "tls", "ca.crt"), Cert: filepath.Join(dir, "tls", "node.crt"), Key: filepath.Join(dir, "tls", "node.key")},
	}
	if err := os.WriteFile(h.TokenFile, []byte(token+"\n"), 0o600); err != nil {
		o.t.Fatal(err)
	}
	return h
}

// enroll makes a host a member.
func (o *office) enroll(h join.Host) *pki.Identity {
	o.t.Helper()
	if err := join.Enroll(o.t.Context(), h); err != nil {
		o.t.Fatal(err)
	}
	id, err := pki.Load(h.Files)
	if err != nil {
		o.t.Fatal(err)
	}
	return id
}

// left is what is left of a token's uses.
func (o *office) left(t *model.JoinToken) int64 {
	o.t.Helper()
	now, err := database.Get[model.JoinToken](o.t.Context(), o.store, t.ID)
	if err != nil {
		o.t.Fatal(err)
	}
	return now.UsesLeft
}

// TestJoin lets a host in with a good token.
func TestJoin(t *testing.T) {
	o := open(t)
	token, row := o.token(pki.Node, 2)
	if strings.Contains(token, row.Hash) {
		t.Error("the token holds its hash")
	}
	h := o.host("node1", token)
	id := o.enroll(h)
	if id.Name() != (pki.Name{Cluster: "test", Role: pki.Node, Name: "node1"}) || time.Until(id.Expires()) > Default().Life.Duration() {
		t.Errorf("%v until %v", id.Name(), id.Expires())
	}
	if mode, err := os.Stat(h.Files.Key); err != nil || mode.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", mode, err)
	}
	if err := join.Enroll(t.Context(), join.Host{Config: join.Config{Token: "x"}, Files: h.Files}); err != nil {
		t.Errorf("a member asks again: %v", err)
	}
	// It did not hear the answer, and asks again with the same key.
	if err := os.Remove(h.Files.Cert); err != nil {
		t.Fatal(err)
	}
	o.enroll(h)
	if left := o.left(row); left != 1 {
		t.Errorf("%d uses are left, want 1", left)
	}
}

// TestJoinRefused is who does not get in: no file is written, and no use is taken.
func TestJoinRefused(t *testing.T) {
	o := open(t)
	token, row := o.token(pki.Node, 10)
	o.enroll(o.host("node1", token))
	foreign, err := pki.CreateCA("test", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	revoked, other := o.token(pki.Node, 1)
	if err := o.store.RevokeJoinToken(t.Context(), other.ID); err != nil {
		t.Fatal(err)
	}
	once, used := o.token(pki.Node, 1)
	o.enroll(o.host("node2", once))
	if left := o.left(used); left != 0 {
		t.Errorf("%d uses are left of a token for one", left)
	}
	// Out, and back with the token that it kept.
	out := o.host("out", token)
	o.enroll(out)
	if _, err := o.store.RevokeMember(t.Context(), model.RoleNode, "out", "test", o.clock()); err != nil {
		t.Fatal(err)
	}
	cut := strings.LastIndexByte(token, '.')
	left := o.left(row)
	for name, c := range map[string]struct {
		name, token string
		role        pki.Role
		is          func(error) bool
	}{
		"the name of a member":        {"node1", token, pki.Node, errdefs.IsAlreadyExists},
		"no name":                     {"a/b", token, pki.Node, errdefs.IsInvalidArgument},
		"another secret":              {"node3", strings.Replace(token, token[20:24], "aaaa", 1), pki.Node, errdefs.IsUnauthorized},
		"the fingerprint of no CA":    {"node3", token[:cut+1] + foreign.Pin(), pki.Node, errdefs.IsUnauthorized},
		"no token":                    {"node3", "secret", pki.Node, errdefs.IsInvalidArgument},
		"revoked":                     {"node3", revoked, pki.Node, errdefs.IsUnauthorized},
		"used up":                     {"node3", once, pki.Node, errdefs.IsUnauthorized},
		"a node's token, for a seed":  {"node3", token, pki.Seed, errdefs.IsPermissionDenied},
		"for a scheduler":             {"node3", token, pki.Scheduler, errdefs.IsPermissionDenied},
		"for a manager":               {"node3", token, pki.Manager, errdefs.IsPermissionDenied},
		"for a client":                {"node3", token, pki.Client, errdefs.IsPermissionDenied},
		"the name of one who was out": {"out", token, pki.Node, errdefs.IsPermissionDenied},
	} {
		h := o.host(c.name, c.token)
		h.Role = c.role
		if err := join.Enroll(t.Context(), h); err == nil || !c.is(err) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(h.Files.Cert); err == nil {
			t.Errorf("%s: a certificate was written", name)
		}
	}
	if now := o.left(row); now != left {
		t.Errorf("refusals took %d uses", left-now)
	}
	if _, err := o.NewToken(t.Context(), &model.JoinToken{Role: "manager", Uses: 1}, time.Hour); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a token for managers: %v", err)
	}
	o.later(time.Minute)
	fresh, _ := o.token(pki.Node, 1)
	out.TokenFile = o.host("out", fresh).TokenFile
	if err := os.Remove(out.Files.Cert); err != nil {
		t.Fatal(err)
	}
	o.enroll(out) // the operator lets it in again
	o.later(time.Hour)
	if err := join.Enroll(t.Context(), o.host("node4", token)); !errdefs.IsUnauthorized(err) {
		t.Errorf("a stolen token after its end: %v", err)
	}
}

// A request to sign counts for its key alone: who it says that it is for does not matter.
func TestTheRequestsNameDoesNotCount(t *testing.T) {
	o := open(t)
	token, _ := o.token(pki.Node, 1)
	csr, err := requestAs("spiffe://test/darter/manager/boss")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := o.Join(t.Context(), Application{Token: token, Name: "node1", Role: pki.Node, CSR: csr})
	if err != nil {
		t.Fatal(err)
	}
	want := pki.Name{Cluster: "test", Role: pki.Node, Name: "node1"}
	if got, err := pki.NameOf(cert); err != nil || got != want || cert.Subject.CommonName != "node1" || len(cert.DNSNames) != 0 {
		t.Errorf("joined as %v %q %v, %v", got, cert.Subject, cert.DNSNames, err)
	}
	next, err := o.Renew(t.Context(), cert, csr)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := pki.NameOf(next); err != nil || got != want {
		t.Errorf("renewed as %v, %v", got, err)
	}
}

// TestRenew renews a member's certificate for the same key, and nobody else's.
func TestRenew(t *testing.T) {
	o := open(t)
	token, _ := o.token(pki.Node, 5)
	_, before := o.enroll(o.host("in", token)).Signer()
	key, lost := o.enroll(o.host("out", token)).Signer()
	csr, err := pki.NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	if next, err := o.Renew(t.Context(), before, csr); err != nil || pki.Serial(next) == pki.Serial(before) {
		t.Errorf("renew: %v", err)
	}
	static, err := o.ca.Issue(pki.Request{Role: pki.Node, Name: "static"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.Renew(t.Context(), static.Cert, csr); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("a certificate of darter ca is renewed: %v", err)
	}
	if _, err := o.store.RevokeMember(t.Context(), model.RoleNode, "out", "test", o.clock()); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Renew(t.Context(), lost, csr); !errdefs.IsPermissionDenied(err) {
		t.Errorf("a revoked certificate is renewed: %v", err)
	}
	o.later(Default().Life.Duration() + time.Hour)
	if _, err := o.Renew(t.Context(), before, csr); !errdefs.IsUnauthorized(err) {
		t.Errorf("a certificate that has ended is renewed: %v", err)
	}
}

// A host renews its certificate by itself, and its identity takes it up.
func TestKeep(t *testing.T) {
	o := open(t)
	o.life = time.Hour
	o.later(-50 * time.Minute) // its certificate has ten minutes left
	token, _ := o.token(pki.Node, 1)
	h := o.host("node1", token)
	id := o.enroll(h)
	_, first := id.Signer()
	o.later(50 * time.Minute)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- join.Keep(ctx, h, id) }()
	for late := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if _, now := id.Signer(); pki.Serial(now) != pki.Serial(first) {
			if pki.KeyHash(now) != pki.KeyHash(first) {
				t.Error("it has another key")
			}
			break
		}
		if time.Now().After(late) {
			t.Fatal("the certificate is not renewed")
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestRevoke puts members out by name and by number, and the manager itself refuses them.
func TestRevoke(t *testing.T) {
	o := open(t)
	token, _ := o.token(pki.Node, 5)
	out, in := o.enroll(o.host("out", token)), o.enroll(o.host("in", token))
	static, err := o.ca.Identity(pki.Seed, "static")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := o.store.RevokeMember(t.Context(), model.RoleNode, "out", "me", o.clock()); err != nil || len(n) != 1 || n[0].RevokedBy != "me" || n[0].TokenID != 1 {
		t.Errorf("%+v, %v", n, err)
	}
	if n, err := o.store.RevokeMember(t.Context(), model.RoleSeed, "in", "me", o.clock()); err != nil || len(n) != 0 {
		t.Errorf("another role's: %+v, %v", n, err)
	}
	_, cert := static.Signer()
	if _, err := o.RevokeSerial(t.Context(), pki.Serial(cert), "me"); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "0", "-1", "0a", "FF", "x", strings.Repeat("f", 41), "a' OR 1=1"} {
		if _, err := o.RevokeSerial(t.Context(), bad, "me"); !errdefs.IsInvalidArgument(err) {
			t.Errorf("serial %q: %v", bad, err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Follow(ctx, o.store, o.id, o.clock) }()
	for late := time.Now().Add(30 * time.Second); shake(t, o.id, out) == nil || shake(t, o.id, static) == nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("a revoked host is still let in")
		}
	}
	if err := shake(t, o.id, in); err != nil {
		t.Errorf("another member: %v", err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	serials, err := o.store.Revoked(t.Context(), o.clock())
	if err != nil || len(serials) != 2 {
		t.Errorf("%v, %v", serials, err)
	}
	// What has ended need not be refused: darter ca's is remembered as long as the CA.
	if serials, err := o.store.Revoked(t.Context(), o.clock().Add(8*24*time.Hour)); err != nil || len(serials) != 1 {
		t.Errorf("a week later: %v, %v", serials, err)
	}
}

// Managers of one database have one CA.
func TestOneCA(t *testing.T) {
	o := open(t)
	if _, err := New(t.Context(), Default(), o.ca, o.store, o.clock); err != nil {
		t.Errorf("another manager of the same CA: %v", err)
	}
	other, err := pki.CreateCA("test", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), Default(), other, o.store, o.clock); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("of another CA: %v", err)
	}
	if _, err := New(t.Context(), Config{Life: config.Duration(time.Second)}, o.ca, o.store, o.clock); !errdefs.IsInvalidArgument(err) {
		t.Errorf("certificates of a second: %v", err)
	}
}
