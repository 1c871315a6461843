// Package mirror is the door for clients that speak the pull side of the OCI
// distribution API: containerd by certs.d/hosts.toml, docker by registry-mirrors,
// CRI-O, podman. It answers from a fetcher.Fetcher.
//
// A client that is sent away at once goes on to its next host, the registry itself;
// one that is kept waiting does not. So headers are sent only when bytes are sure,
// within a bounded time; a refusal is fast and keeps the registry's meaning; a body
// that breaks is broken for the client to see, and its resume is refused.
package mirror
