package upstream

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/containerd/errdefs"
)

func TestPolicy(t *testing.T) {
	for _, tt := range []struct {
		allow, deny []string
		host, ip    string
		want        bool
	}{
		{nil, nil, "files.example.com", "192.0.2.1", true},
		{nil, nil, "files.example.com", "127.0.0.1", false}, // DNS that points home
		{nil, nil, "files.example.com", "169.254.169.254", false},
		{nil, nil, "localhost", "127.0.0.1", false},
		{nil, nil, "127.0.0.1", "127.0.0.1", false},
		{nil, nil, "::ffff:127.0.0.1", "::ffff:127.0.0.1", false},
		{nil, nil, "[::1]", "::1", false},
		{nil, nil, "fe80::1", "fe80::1", false},
		{nil, nil, "metadata", "fd00:ec2::254", false},
		{nil, nil, "0.0.0.0", "0.0.0.0", false},
		{nil, nil, "x", "224.0.0.1", false},
		{[]string{"*"}, nil, "localhost", "127.0.0.1", false}, // all is not this machine
		{[]string{"*", "127.0.0.0/8"}, nil, "localhost", "127.0.0.1", true},
		{[]string{"localhost"}, nil, "localhost", "127.0.0.1", true},
		{[]string{"127.0.0.1"}, nil, "127.0.0.1", "127.0.0.1", true},
		{[]string{"[::1]:8080"}, nil, "::1", "::1", false}, // another port
		{[]string{"[::1]:80"}, nil, "::1", "::1", true},
		{[]string{"*.example.com"}, nil, "files.example.com", "192.0.2.1", true},
		{[]string{"*.example.com"}, nil, "Files.Example.COM.", "192.0.2.1", true},
		{[]string{"*.example.com"}, nil, "example.com", "192.0.2.1", false},
		{[]string{"*.example.com"}, nil, "badexample.com", "192.0.2.1", false},
		{[]string{"*.example.com"}, nil, "evil.example.com", "127.0.0.1", false},
		{[]string{"192.0.2.0/24"}, nil, "any.example.com", "192.0.2.1", true},
		{[]string{"192.0.2.0/24"}, nil, "any.example.com", "192.0.3.1", false},
		{nil, []string{"192.0.2.0/24"}, "any.example.com", "192.0.2.1", false},
		{[]string{"*"}, []string{"*.example.com"}, "any.example.com", "192.0.2.1", false},
		{nil, nil, "exämple.com", "192.0.2.1", false},
	} {
		p, err := New(Config{tt.allow, tt.deny})
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(p.Host(tt.host, "80"), p.Address(tt.host, "80", netip.MustParseAddr(tt.ip)))
		if (err == nil) != tt.want || err != nil && !errdefs.IsPermissionDenied(err) {
			t.Errorf("allow %q, deny %q: %s at %s: %v, want allowed %v", tt.allow, tt.deny, tt.host, tt.ip, err, tt.want)
		}
	}
}

func TestOwnReads(t *testing.T) {
	p, err := New(Config{Deny: []string{"192.0.2.0/24"}})
	if err != nil {
		t.Fatal(err)
	}
	own := p.Own()
	if err := errors.Join(own.Host("localhost", "80"), own.Address("localhost", "80", netip.MustParseAddr("::1"))); err != nil {
		t.Error(err)
	}
	if own.Address("x", "80", netip.MustParseAddr("192.0.2.1")) == nil {
		t.Error("the deny list does not count")
	}
}

func TestBadEntries(t *testing.T) {
	for _, s := range []string{"", "*.", "http://x", "a/b", "a b", "10.0.0.0/99"} {
		if err := (Config{Allow: []string{s}}).Validate(); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
}

func FuzzHost(f *testing.F) {
	p, err := New(Config{Allow: []string{"*.example.com", "10.0.0.0/8"}, Deny: []string{"x.example.com"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("x.example.com", "[::1%eth0]")
	f.Fuzz(func(t *testing.T, host, entry string) {
		if p.Host(host, "80") == nil && IsLoopback(host) && host != "" && plain(host) == "localhost" {
			if ip, ok := Literal(host); !ok || !ip.IsPrivate() {
				t.Errorf("%q is allowed", host)
			}
		}
		_, _ = parseRule(entry)
	})
}
