// Package proxy is the door for programs that are given an HTTP proxy: nydusd, docker,
// and others on this node. Requests in absolute form for a registry's blobs, and for
// what else the rules name, are answered from the piece network; all else goes where it
// was going. CONNECT is a tunnel that nobody looks into.
package proxy
