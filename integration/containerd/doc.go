// Package containerd tests darter under what it is made for: real containerd
// nodes and a dockerd pull images through the mirror, from a real registry, in
// the lab's network. Its tests need root and the tools that `make test` puts on
// PATH; they are skipped, with the reason, where these are absent.
package containerd
