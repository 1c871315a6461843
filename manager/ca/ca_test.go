package ca

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"go.uber.org/goleak"

	"github.com/darter-p2p/darter/internal/join"
	"github.com/darter-p2p/darter/internal/pki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is the plainest Store that keeps the contract.
type memory struct {
	mu     sync.Mutex
	tokens []*Token
	certs  []*Certificate
}

func (m *memory) CreateJoinToken(_ context.Context, t *Token) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	t.ID = int64(len(m.tokens) + 1)
	kept := *t
	m.tokens = append(m.tokens, &kept)
	return nil
}

func (m *memory) UseJoinToken(_ context.Context, hash string, now time.Time) (*Token, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range m.tokens {
		if t.Hash == hash && !t.Revoked && t.Uses > 0 && now.Before(t.Expires) {
			t.Uses--
			kept := *t
			return &kept, nil
		}
	}
	return nil, errdefs.ErrNotFound
}

func (m *memory) RevokeJoinToken(_ context.Context, id int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tokens[id-1].Revoked = true
	return nil
}

func (m *memory) AddCertificate(_ context.Context, c Certificate, replaces bool, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, other := range m.certs {
		if other.Role == c.Role && other.Name == c.Name && !replaces && !other.Revoked && now.Before(other.Expires) {
			return fmt.Errorf("%s: %w", c.Name, errdefs.ErrAlreadyExists)
		}
	}
	m.certs = append(m.certs, &c)
	return nil
}

func (m *memory) Certificate(_ context.Context, serial string) (*Certificate, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.certs {
		if c.Serial == serial {
			kept := *c
			return &kept, nil
		}
	}
	return nil, errdefs.ErrNotFound
}

func (m *memory) RevokeMember(_ context.Context, role pki.Role, name string, now time.Time) (n int, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.certs {
		if c.Role == role && c.Name == name && now.Before(c.Expires) && !c.Revoked {
			c.Revoked = true
			n++
		}
	}
	return n, nil
}

func (m *memory) RevokedCertificates(_ context.Context, now time.Time) (all []Certificate, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.certs {
		if c.Revoked && now.Before(c.Expires) {
			all = append(all, *c)
		}
	}
	return all, nil
}

// office is a manager that hosts join at.
type office struct {
	*Authority
	id   *pki.Identity
	addr string

	mu   sync.Mutex
	skew time.Duration
}

func (o *office) now() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return time.Now().Add(o.skew)
}

func (o *office) later(d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.skew = d
}

func start(t *testing.T) *office {
	t.Helper()
	authority, err := pki.CreateCA("test", time.Now(), 30*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	o := &office{}
	o.Authority = New(authority, &memory{}, o.now)
	if o.id, err = authority.Identity(pki.Manager, "m1"); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.addr = l.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- o.Serve(ctx, l, o.id) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return o
}

// token makes a token for nodes.
func (o *office) token(t *testing.T, uses int) (string, *Token) {
	t.Helper()
	secret, token, err := o.NewToken(t.Context(), pki.Node, time.Hour, uses, "")
	if err != nil {
		t.Fatal(err)
	}
	return secret, token
}

// host is a host's files for joining with a token.
func (o *office) host(t *testing.T, name, token string) join.Config {
	t.Helper()
	dir := t.TempDir()
	c := join.Config{Address: o.addr, TokenFile: filepath.Join(dir, "token"), Name: name, Poll: 10 * time.Millisecond,
		Files: pki.Files{CA: filepath.Join(dir, "tls", "ca.crt"), Cert: filepath.Join(dir, "tls", "node.crt"), Key: filepath.Join(dir, "tls", "node.key")}}
	if err := os.WriteFile(c.TokenFile, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestJoin lets a host in with a good token, and nobody else.
func TestJoin(t *testing.T) {
	o := start(t)
	token, kept := o.token(t, 3)
	if strings.Contains(token, kept.Hash) {
		t.Error("the token holds its hash")
	}
	first := o.host(t, "node1", token)
	if err := join.Enroll(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	id, err := pki.Load(first.Files)
	if err != nil || id.Name() != (pki.Name{Cluster: "test", Role: pki.Node, Name: "node1"}) || time.Until(id.Expires()) > Life {
		t.Fatal(id.Name(), err)
	}
	if err := join.Enroll(t.Context(), join.Config{Files: first.Files}); err != nil {
		t.Errorf("a member asks again: %v", err)
	}
	foreign, err := pki.CreateCA("test", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	revoked, other := o.token(t, 1)
	if err := o.store.RevokeJoinToken(t.Context(), other.ID); err != nil {
		t.Fatal(err)
	}
	once, _ := o.token(t, 1)
	if err := join.Enroll(t.Context(), o.host(t, "node2", once)); err != nil {
		t.Fatal(err)
	}
	cut := strings.LastIndexByte(token, '.')
	for name, c := range map[string]struct {
		name, token string
		is          func(error) bool
	}{
		"the name of a member": {"node1", token, errdefs.IsAlreadyExists},
		"no name":              {"a/b", token, errdefs.IsInvalidArgument},
		"another secret":       {"node3", strings.Replace(token, token[20:24], "aaaa", 1), errdefs.IsUnauthorized},
		"another CA":           {"node3", token[:cut+1] + foreign.Pin(), errdefs.IsUnavailable}, // a handshake that fails
		"no token":             {"node3", "secret", errdefs.IsUnavailable},
		"revoked":              {"node3", revoked, errdefs.IsUnauthorized},
		"used up":              {"node3", once, errdefs.IsUnauthorized},
	} {
		h := o.host(t, c.name, c.token)
		if err := join.Enroll(t.Context(), h); err == nil || !c.is(err) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(h.Files.Cert); err == nil {
			t.Errorf("%s: files were written", name)
		}
	}
	o.later(2 * time.Hour)
	if err := join.Enroll(t.Context(), o.host(t, "node4", token)); !errdefs.IsUnauthorized(err) {
		t.Errorf("a stolen token after its end: %v", err)
	}
}

// TestRenewAndRevoke renews a member's certificate in its files, then puts it out.
func TestRenewAndRevoke(t *testing.T) {
	o := start(t)
	token, _ := o.token(t, 5)
	victim, witness := o.host(t, "victim", token), o.host(t, "witness", token)
	for _, h := range []join.Config{victim, witness} {
		if err := join.Enroll(t.Context(), h); err != nil {
			t.Fatal(err)
		}
	}
	out, err := pki.Load(victim.Files)
	if err != nil {
		t.Fatal(err)
	}
	in, err := pki.Load(witness.Files)
	if err != nil {
		t.Fatal(err)
	}
	_, before := in.Signer()
	_, csr, err := pki.NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	if next, err := o.Renew(t.Context(), before, csr); err != nil || pki.Serial(next) == pki.Serial(before) || !next.NotAfter.After(before.NotAfter.Add(-time.Minute)) {
		t.Fatalf("renew: %v", err)
	}
	static, err := o.ca.Identity(pki.Node, "static")
	if err != nil {
		t.Fatal(err)
	}
	_, cert := static.Signer()
	if _, err := o.Renew(t.Context(), cert, csr); !errdefs.IsPermissionDenied(err) {
		t.Errorf("a certificate of darter ca is renewed: %v", err)
	}

	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- join.Run(ctx, witness, in) }()
	if n, err := o.Revoke(t.Context(), pki.Node, "victim"); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	_, lost := out.Signer()
	if _, err := o.Renew(t.Context(), lost, csr); !errdefs.IsUnauthorized(err) {
		t.Errorf("a revoked certificate is renewed: %v", err)
	}
	for late := time.Now().Add(30 * time.Second); shake(t, in, out) == nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("the revoked host is still let in")
		}
	}
	if err := shake(t, in, static); err != nil {
		t.Errorf("a static certificate: %v", err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := join.Enroll(t.Context(), o.host(t, "victim", token)); err != nil {
		t.Errorf("the host that was put out joins anew with a good token: %v", err)
	}
}
