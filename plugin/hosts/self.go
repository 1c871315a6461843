package hosts

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// self is where this node's own doors listen.
type self []door

type door struct {
	ip   netip.Addr // unspecified = every address of the machine
	name string     // where the address was given by name
	port string
}

func newSelf(addrs []string) (self, error) {
	var s self
	for _, addr := range addrs {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, fmt.Errorf("own address %q: %w", addr, err)
		}
		d := door{port: port, name: strings.ToLower(host)}
		switch ip, err := netip.ParseAddr(host); {
		case host == "":
			d.ip = netip.IPv6Unspecified()
		case err == nil:
			d.ip = ip.Unmap()
		}
		s = append(s, d)
	}
	return s, nil
}

// is reports whether u is one of the doors. A door on every address counts as being at
// loopback and at the machine's own addresses. A door that is reached by another name
// is not found here; the loop header of its requests gives that away.
func (s self) is(u *url.URL) bool {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	name := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	ip, err := netip.ParseAddr(name)
	ip = ip.Unmap()
	loopback := err == nil && (ip.IsLoopback() || ip.IsUnspecified()) || name == "localhost" || strings.HasSuffix(name, ".localhost")
	for _, d := range s {
		switch {
		case d.port != port:
		case d.name == name:
			return true
		case !d.ip.IsValid():
			if d.name == "localhost" && loopback {
				return true
			}
		case d.ip.IsLoopback() && loopback, d.ip.IsUnspecified() && (loopback || isOwnAddress(ip)), d.ip == ip:
			return true
		}
	}
	return false
}

func isOwnAddress(ip netip.Addr) bool {
	if !ip.IsValid() {
		return false
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.Equal(ip.AsSlice()) {
			return true
		}
	}
	return false
}
