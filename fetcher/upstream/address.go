package upstream

import (
	"net"
	"net/netip"
	"strings"
)

// Literal reads an IP address, in brackets or not.
func Literal(host string) (netip.Addr, bool) {
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return ip.WithZone("").Unmap(), err == nil
}

// IsLinkLocal reports whether an address means another thing on each link; the metadata
// of cloud machines lives there.
func IsLinkLocal(ip netip.Addr) bool {
	return ip.IsLinkLocalUnicast() || ip.IsLinkLocalMulticast() || ip == metadataV6
}

// metadataV6 is where EC2 answers for instance metadata over IPv6; it is not link-local.
var metadataV6 = netip.MustParseAddr("fd00:ec2::254")

// IsLoopback reports whether a host, or a host:port, is this machine by its name.
func IsLoopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, ok := Literal(host)
	return ok && ip.IsLoopback()
}
