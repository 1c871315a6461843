package pki

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// handshake connects two configurations over loopback and returns what each side says.
func handshake(t *testing.T, server, client *tls.Config) (cs tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer conn.Close()
		s := tls.Server(conn, server)
		if err := s.Handshake(); err != nil {
			done <- err
			return
		}
		_, err = s.Write([]byte{1})
		done <- err
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := tls.Client(conn, client)
	if clientErr = c.Handshake(); clientErr == nil {
		// In TLS 1.3 the server's refusal arrives after the client's handshake.
		_, clientErr = c.Read(make([]byte, 1))
	}
	conn.Close()
	return c.ConnectionState(), <-done, clientErr
}

func identity(t *testing.T, ca *CA, role Role, name string) *Identity {
	t.Helper()
	id, err := ca.Identity(role, name)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestMutualTLS(t *testing.T) {
	ca, stranger, namesake := newTestCA(t, "c"), newTestCA(t, "d"), newTestCA(t, "c")
	node, scheduler := identity(t, ca, Node, "n1"), identity(t, ca, Scheduler, "s1")
	soon := func(id *Identity, d time.Duration) *Identity {
		id.now = func() time.Time { return time.Now().Add(d) }
		return id
	}

	for name, test := range map[string]struct {
		server, client *tls.Config
		class          error  // nil = connects
		say            string // in the error of the side that refuses
	}{
		"any role":           {scheduler.ServerTLS(), node.ClientTLS(), nil, ""},
		"roles match":        {scheduler.ServerTLS(Node, Seed), node.ClientTLS(Scheduler), nil, ""},
		"name matches":       {scheduler.ServerTLS(), node.ClientTLSTo("s1", Scheduler), nil, ""},
		"server's role":      {scheduler.ServerTLS(), node.ClientTLS(Manager), errdefs.ErrPermissionDenied, "has the role scheduler, want manager"},
		"client's role":      {scheduler.ServerTLS(Seed), node.ClientTLS(), errdefs.ErrPermissionDenied, "has the role node, want seed"},
		"server's name":      {scheduler.ServerTLS(), node.ClientTLSTo("s2"), errdefs.ErrPermissionDenied, `"s2" was expected`},
		"other CA":           {scheduler.ServerTLS(), identity(t, stranger, Node, "x").ClientTLS(), errdefs.ErrUnauthenticated, "another CA"},
		"other CA, same CN":  {scheduler.ServerTLS(), identity(t, namesake, Node, "x").ClientTLS(), errdefs.ErrUnauthenticated, "another CA"},
		"expired":            {soon(identity(t, ca, Scheduler, "s"), 101*day).ServerTLS(), soon(identity(t, ca, Node, "n"), day).ClientTLS(), errdefs.ErrUnauthenticated, "expired at"},
		"not yet valid":      {soon(identity(t, ca, Scheduler, "s"), -day).ServerTLS(), node.ClientTLS(), errdefs.ErrUnauthenticated, "compare the clocks"},
		"no certificate":     {scheduler.ServerTLS(), &tls.Config{InsecureSkipVerify: true}, nil, "didn't provide a certificate"},
		"TLS 1.2 is refused": {scheduler.ServerTLS(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}, nil, "version"},
	} {
		t.Run(name, func(t *testing.T) {
			cs, serverErr, clientErr := handshake(t, test.server, test.client)
			both := errors.Join(serverErr, clientErr)
			if test.say == "" {
				if both != nil {
					t.Fatal(both)
				}
				if role, peer, err := PeerName(cs); role != Scheduler || peer != "s1" || err != nil {
					t.Fatalf("PeerName = %s %s %v", role, peer, err)
				}
				return
			}
			if serverErr == nil && clientErr == nil {
				t.Fatal("connected")
			}
			if test.class != nil && !errors.Is(both, test.class) || !strings.Contains(both.Error(), test.say) {
				t.Fatalf("%v\nwant %v and %q", both, test.class, test.say)
			}
		})
	}
}

func TestPeerNameBeforeHandshake(t *testing.T) {
	if _, _, err := PeerName(tls.ConnectionState{}); !errors.Is(err, errdefs.ErrUnauthenticated) {
		t.Fatal(err)
	}
}

func TestOtherClusterOfTheSameCA(t *testing.T) {
	ca := newTestCA(t, "c")
	foreign := *ca
	foreign.cluster = "d"
	// Either side refuses; the client checks first.
	_, _, err := handshake(t, identity(t, ca, Scheduler, "s").ServerTLS(), identity(t, &foreign, Node, "n").ClientTLS())
	if !errors.Is(err, errdefs.ErrPermissionDenied) || !strings.Contains(err.Error(), "another cluster") {
		t.Fatal(err)
	}
}

func TestReloadAtHandshake(t *testing.T) {
	dir := t.TempDir()
	ca := newTestCA(t, "c")
	if err := ca.Write(dir); err != nil {
		t.Fatal(err)
	}
	id, err := Load(writeMember(t, ca, dir, Request{Role: Node, Name: "a"}))
	if err != nil {
		t.Fatal(err)
	}
	var told []error
	id.OnReload(func(err error) { told = append(told, err) })
	server := identity(t, ca, Scheduler, "s").ServerTLS()
	seen := ""
	verify := server.VerifyConnection
	server.VerifyConnection = func(cs tls.ConnectionState) error {
		seen = cs.PeerCertificates[0].SerialNumber.String()
		return verify(cs)
	}
	shake := func() string {
		t.Helper()
		if _, s, c := handshake(t, server, id.ClientTLS()); s != nil || c != nil {
			t.Fatal(s, c)
		}
		return seen
	}
	touch := func(d time.Duration, paths ...string) { // whole seconds apart, whatever the file system's clock
		t.Helper()
		for _, p := range paths {
			if err := os.Chtimes(p, time.Time{}, time.Now().Add(d)); err != nil {
				t.Fatal(err)
			}
		}
	}

	first := shake()
	if again := shake(); again != first || len(told) != 0 {
		t.Fatalf("reloaded without a change: %v", told)
	}
	f := writeMember(t, ca, dir, Request{Role: Node, Name: "a"})
	touch(time.Minute, f.Cert, f.Key)
	renewed := shake()
	if renewed == first || len(told) != 1 || told[0] != nil {
		t.Fatalf("renewed certificate not in use: %v", told)
	}

	// Half a renewal: the key has changed, its certificate is not there yet.
	p, _ := ca.Issue(Request{Role: Node, Name: "a"}, time.Now())
	cert, key, err := p.PEM()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.Key, key, 0o600); err != nil {
		t.Fatal(err)
	}
	touch(2*time.Minute, f.Key)
	for range 2 {
		if shake() != renewed {
			t.Fatal("a mismatched pair is in use")
		}
	}
	if len(told) != 2 || told[1] == nil || !strings.Contains(told[1].Error(), "is not the key of") {
		t.Fatalf("told %v, want one error about the pair", told)
	}
	if err := os.WriteFile(f.Cert, cert, 0o644); err != nil {
		t.Fatal(err)
	}
	touch(3*time.Minute, f.Cert)
	if shake() == renewed || len(told) != 3 || told[2] != nil {
		t.Fatalf("completed renewal not in use: %v", told)
	}

	// Another identity in the same files is not taken over by a running process.
	other, _ := ca.Issue(Request{Role: Seed, Name: "a"}, time.Now())
	cert, key, _ = other.PEM()
	for path, data := range map[string][]byte{f.Cert: cert, f.Key: key} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	touch(4*time.Minute, f.Cert, f.Key)
	shake()
	if len(told) != 4 || told[3] == nil || !strings.Contains(told[3].Error(), "restart") {
		t.Fatalf("told %v", told)
	}
	if id.Name().Role != Node {
		t.Fatal("role changed")
	}
	os.Remove(f.Cert)
	shake() // a missing file changes nothing
}
