package trust

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p"
)

// world is an acting seed with everything that its statements hang on.
type world struct {
	verifier   *Verifier
	batch      Batch // by node n1 with a token
	final      Batch // by seed s1
	revocation Revocation
	token      Token

	otherCert  []byte // of node n1 too, with another key
	otherToken []byte // for the same task and host, too, a minute longer
	otherSig   []byte // of the same author over another batch
}

func newWorld(t testing.TB) *world {
	t.Helper()
	a := newAuthority(t)
	scheduler := a.member(t, pki.Scheduler, "sched", newECDSA(t), nil)
	w := &world{verifier: NewVerifier(a)}
	w.token = must(scheduler.Token(task(t, "a"), "n1", now.Add(time.Minute)))(t)
	other := must(scheduler.Token(task(t, "a"), "n1", now.Add(2*time.Minute)))(t)
	node := a.member(t, pki.Node, "n1", newECDSA(t), nil).with(t, w.token)
	w.otherCert = a.member(t, pki.Node, "n1", newECDSA(t), nil).cert
	w.otherToken = other.Encode()
	w.batch = must(node.Batch(batchOf(t, 2, 5), now))(t)
	w.otherSig = must(node.Batch(batchOf(t, 2, 6), now))(t).Sig
	w.revocation = must(node.Revocation(Revocation{Task: task(t, "a"), Origin: "oci://r/a", Signer: "n1", Reason: "wrong"}, now))(t)
	whole := batchOf(t, 0, 10)
	whole.Final = true
	w.final = must(a.member(t, pki.Seed, "s1", newEd25519(t), nil).Batch(whole, now))(t)
	return w
}

// flip returns a copy of b with one bit of byte i turned.
func flip(b []byte, i int) []byte {
	c := append([]byte(nil), b...)
	c[i] ^= 1
	return c
}

// forgery changes one field of a statement.
type forgery[S any] struct {
	field string
	edit  func(*S)
}

func TestForgedBatch(t *testing.T) {
	w := newWorld(t)
	testForgeries(t, w.batch, func(b Batch) error {
		_, err := w.verifier.Batch(&b)
		return err
	}, []forgery[Batch]{
		{"Task", func(b *Batch) { b.Task = task(t, "b") }},
		{"Task", func(b *Batch) { b.Task = p2p.TaskOfURL("a", "", "") }},
		{"Task", func(b *Batch) { b.Task = p2p.TaskID{} }},
		{"Geometry", func(b *Batch) { b.Geometry.Size++ }},
		{"Geometry", func(b *Batch) { b.Geometry.Size-- }},
		{"Geometry", func(b *Batch) { b.Geometry.Size = -b.Geometry.Size }},
		{"Geometry", func(b *Batch) { b.Geometry.PieceLength *= 2 }},
		{"Geometry", func(b *Batch) { b.Geometry = p2p.Geometry{} }},
		{"First", func(b *Batch) { b.First++ }},
		{"First", func(b *Batch) { b.First = 0 }},
		{"First", func(b *Batch) { b.First = ^p2p.Piece(0) }},
		{"Digests", func(b *Batch) { b.Digests[1][31] ^= 1 }},
		{"Digests", func(b *Batch) { b.Digests[0], b.Digests[1] = b.Digests[1], b.Digests[0] }},
		{"Digests", func(b *Batch) { b.Digests = b.Digests[:2] }},
		{"Digests", func(b *Batch) { b.Digests = append(b.Digests, p2p.PieceDigest{}) }},
		{"Digests", func(b *Batch) { b.Digests = nil }},
		{"Final", func(b *Batch) { b.Final = true }},
		{"Signed", func(b *Batch) { b.Signed = b.Signed.Add(time.Second) }},
		{"Signed", func(b *Batch) { b.Signed = b.Signed.Add(-time.Second) }},
		{"Signed", func(b *Batch) { b.Signed = b.Signed.Add(1) }},
		{"Signed", func(b *Batch) { b.Signed = time.Time{} }},
		{"Cert", func(b *Batch) { b.Cert = w.otherCert }},
		{"Cert", func(b *Batch) { b.Cert = flip(b.Cert, len(b.Cert)-1) }},
		{"Cert", func(b *Batch) { b.Cert = w.final.Cert }},
		{"Cert", func(b *Batch) { b.Cert = w.token.Cert }},
		{"Cert", func(b *Batch) { b.Cert = append(b.Cert, 0) }},
		{"Cert", func(b *Batch) { b.Cert = make([]byte, 1<<16) }},
		{"Cert", func(b *Batch) { b.Cert = nil }},
		{"Token", func(b *Batch) { b.Token = w.otherToken }},
		{"Token", func(b *Batch) { b.Token = flip(b.Token, 40) }},
		{"Token", func(b *Batch) { b.Token = nil }},
		{"Sig", func(b *Batch) { b.Sig = w.otherSig }},
		{"Sig", func(b *Batch) { b.Sig = w.revocation.Sig }},
		{"Sig", func(b *Batch) { b.Sig = flip(b.Sig, 10) }},
		{"Sig", func(b *Batch) { b.Sig = append(b.Sig, 0) }},
		{"Sig", func(b *Batch) { b.Sig = nil }},
	})
	testForgeries(t, w.final, func(b Batch) error {
		_, err := w.verifier.Batch(&b)
		return err
	}, []forgery[Batch]{
		{"Task", func(b *Batch) { b.Task = task(t, "b") }},
		{"Geometry", func(b *Batch) { b.Geometry.Size-- }},
		{"First", func(b *Batch) { b.First = 1 }},
		{"Digests", func(b *Batch) { b.Digests = b.Digests[:9] }},
		{"Final", func(b *Batch) { b.Final = false }},
		{"Signed", func(b *Batch) { b.Signed = b.Signed.Add(time.Second) }},
		{"Cert", func(b *Batch) { b.Cert = w.batch.Cert }},
		{"Token", func(b *Batch) { b.Token = w.batch.Token }},
		{"Sig", func(b *Batch) { b.Sig = flip(b.Sig, 0) }},
	})
}

func TestForgedRevocation(t *testing.T) {
	w := newWorld(t)
	testForgeries(t, w.revocation, func(r Revocation) error {
		_, err := w.verifier.Revocation(&r)
		return err
	}, []forgery[Revocation]{
		{"Task", func(r *Revocation) { r.Task = task(t, "b") }},
		{"Origin", func(r *Revocation) { r.Origin = "oci://r/b" }},
		{"Origin", func(r *Revocation) { r.Origin = "" }},
		{"Origin", func(r *Revocation) { r.Origin, r.Signer = r.Origin[:8], "an1" }},
		{"Signer", func(r *Revocation) { r.Signer = "n2" }},
		{"Signer", func(r *Revocation) { r.Signer = "" }},
		{"Reason", func(r *Revocation) { r.Reason += "!" }},
		{"Signed", func(r *Revocation) { r.Signed = r.Signed.Add(time.Second) }},
		{"Cert", func(r *Revocation) { r.Cert = w.otherCert }},
		{"Token", func(r *Revocation) { r.Token = w.otherToken }},
		{"Token", func(r *Revocation) { r.Token = nil }},
		{"Sig", func(r *Revocation) { r.Sig = w.batch.Sig }},
		{"Sig", func(r *Revocation) { r.Sig = flip(r.Sig, 10) }},
	})
}

func TestForgedToken(t *testing.T) {
	w := newWorld(t)
	testForgeries(t, w.token, func(k Token) error {
		return w.verifier.Token(k.Encode(), k.Task, k.Host, now)
	}, []forgery[Token]{
		{"Task", func(k *Token) { k.Task = task(t, "b") }},
		{"Host", func(k *Token) { k.Host = "n2" }},
		{"Host", func(k *Token) { k.Host = "" }},
		{"Expires", func(k *Token) { k.Expires = k.Expires.Add(time.Second) }},
		{"Expires", func(k *Token) { k.Expires = k.Expires.Add(-time.Second) }},
		{"Cert", func(k *Token) { k.Cert = w.otherCert }},
		{"Cert", func(k *Token) { k.Cert = w.final.Cert }},
		{"Sig", func(k *Token) { k.Sig = w.batch.Sig }},
		{"Sig", func(k *Token) { k.Sig = flip(k.Sig, 10) }},
	})
}

// testForgeries checks that the statement verifies, that each forgery of it does not,
// and that no field was left out.
func testForgeries[S any](t *testing.T, good S, verify func(S) error, forgeries []forgery[S]) {
	t.Helper()
	if err := verify(good); err != nil {
		t.Fatal(err)
	}
	forged := map[string]bool{}
	for i, f := range forgeries {
		s := deepCopy(good)
		f.edit(&s)
		if reflect.DeepEqual(s, good) {
			t.Errorf("forgery %d of %s changes nothing", i, f.field)
		}
		if err := verify(s); !errors.Is(err, ErrUntrusted) {
			t.Errorf("forgery %d of %T.%s: %v, want ErrUntrusted", i, good, f.field, err)
		}
		forged[f.field] = true
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[S]()) {
		if !forged[f.Name] {
			t.Errorf("no forgery of %T.%s", good, f.Name)
		}
	}
	if err := verify(good); err != nil {
		t.Errorf("after the forgeries: %v", err)
	}
}

// deepCopy copies a statement with its slices, one element longer in capacity never shared.
func deepCopy[S any](s S) S {
	v := reflect.ValueOf(&s).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Slice && f.Len() > 0 {
			c := reflect.MakeSlice(f.Type(), f.Len(), f.Len())
			reflect.Copy(c, f)
			f.Set(c)
		}
	}
	return s
}

// TestEveryBitCounts turns each bit of an encoded batch, cuts it at each length and
// lengthens it: none may verify.
func TestEveryBitCounts(t *testing.T) {
	w := newWorld(t)
	good := w.batch.Encode()
	try := func(p []byte) error {
		b, err := DecodeBatch(p)
		if err != nil {
			return err
		}
		_, err = w.verifier.Batch(&b)
		return err
	}
	if err := try(good); err != nil {
		t.Fatal(err)
	}
	for i := range good {
		c := append([]byte(nil), good...)
		c[i] ^= 1 << (i % 8)
		if try(c) == nil {
			t.Errorf("verifies with byte %d changed", i)
		}
		if try(good[:i]) == nil {
			t.Errorf("verifies when cut at %d", i)
		}
	}
	if try(append(good, 0)) == nil {
		t.Error("verifies with a byte more")
	}
}
