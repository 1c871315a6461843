package pki

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"time"
)

// Identity is a member's certificate with its key, and the CAs it trusts. Where it
// was loaded from files it follows them: a handshake that finds a file changed reads
// all of them anew. All methods may be called concurrently.
type Identity struct {
	files  *Files // nil = not from files
	name   Name
	now    func() time.Time
	notify func(error)

	mu      sync.Mutex
	cur     material
	stamp   stamp           // of the files that cur came from, or of those that failed last
	revoked map[string]bool // serial numbers of others' certificates
	open    map[*kept]struct{}
}

// material is what the files hold.
type material struct {
	pair  Pair
	cert  *tls.Certificate
	roots *x509.CertPool
}

// stamp tells two versions of the files apart.
type stamp [3]struct {
	mtime time.Time
	size  int64
}

// Load reads an identity. It refuses one that no other member would accept: expired,
// not signed by the CA, no darter URI, a key of another certificate; the error says
// which and what to do.
func Load(f Files) (*Identity, error) {
	i := &Identity{files: &f, now: time.Now}
	m, st, err := i.read()
	if err != nil {
		return nil, fmt.Errorf("load identity: %w", err)
	}
	if i.name, err = NameOf(m.pair.Cert); err != nil {
		return nil, fmt.Errorf("load identity: %s: %w", f.Cert, err)
	}
	i.cur, i.stamp = m, st
	return i, nil
}

// NewIdentity makes an identity that is not in files.
func NewIdentity(p Pair, roots *x509.CertPool) (*Identity, error) {
	name, err := NameOf(p.Cert)
	if err != nil {
		return nil, fmt.Errorf("new identity: %w", err)
	}
	return &Identity{name: name, now: time.Now, cur: material{pair: p, cert: p.certificate(), roots: roots}}, nil
}

// Identity issues a certificate and returns it as an identity that trusts this CA.
func (ca *CA) Identity(role Role, name string) (*Identity, error) {
	p, err := ca.Issue(Request{Role: role, Name: name}, time.Now())
	if err != nil {
		return nil, err
	}
	return NewIdentity(p, ca.pool)
}

// OnReload sets a function that is told of every change of the files: nil when they
// are in use, or why they are not (the earlier ones stay in use). It is called within
// a handshake, so it must not block. Set it before the identity is used.
func (i *Identity) OnReload(f func(error)) { i.notify = f }

// Name returns the member's identity. It does not change while files are replaced.
func (i *Identity) Name() Name { return i.name }

// Cluster returns the name of the cluster.
func (i *Identity) Cluster() string { return i.name.Cluster }

// Roots returns the CAs that are trusted now. The pool is another one after the
// files changed.
func (i *Identity) Roots() *x509.CertPool { return i.current().roots }

// Signer returns the key and the certificate that are in use now.
func (i *Identity) Signer() (crypto.Signer, *x509.Certificate) {
	m := i.current()
	return m.pair.Key, m.pair.Cert
}

// Expires returns when the certificate in use ends.
func (i *Identity) Expires() time.Time { return i.current().pair.Cert.NotAfter }

// current returns what the files hold now, or what they held last if they cannot be used.
func (i *Identity) current() material {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.files == nil {
		return i.cur
	}
	st, err := i.stat()
	if err != nil || st == i.stamp {
		return i.cur
	}
	m, st, err := i.read()
	if err == nil {
		var name Name
		if name, err = NameOf(m.pair.Cert); err == nil && name != i.name {
			err = fmt.Errorf("%s is now of another identity (%s, was %s): restart to change it", i.files.Cert, name, i.name)
		}
	}
	i.stamp = st
	if err == nil {
		i.cur = m
	} else {
		err = fmt.Errorf("reload identity: %w", err)
	}
	if i.notify != nil {
		i.notify(err)
	}
	return i.cur
}

// read loads the files. The stamp is taken before, so that a change meanwhile is
// seen by the next stat.
func (i *Identity) read() (material, stamp, error) {
	st, err := i.stat()
	if err != nil {
		// Reading says more than stat does about what is missing.
		st = stamp{}
	}
	cas, err := readCerts(i.files.CA)
	if err != nil {
		return material{}, st, err
	}
	roots := x509.NewCertPool()
	for _, c := range cas {
		roots.AddCert(c)
	}
	p, err := readPair(i.files.Cert, i.files.Key)
	if err != nil {
		return material{}, st, err
	}
	if err := verifyChain(p.Cert, roots, i.now()); err != nil {
		return material{}, st, fmt.Errorf("%s: %w", i.files.Cert, err)
	}
	return material{pair: p, cert: p.certificate(), roots: roots}, st, nil
}

func (i *Identity) stat() (stamp, error) {
	var st stamp
	for k, path := range []string{i.files.CA, i.files.Cert, i.files.Key} {
		fi, err := os.Stat(path)
		if err != nil {
			return stamp{}, err
		}
		st[k].mtime, st[k].size = fi.ModTime(), fi.Size()
	}
	return st, nil
}
