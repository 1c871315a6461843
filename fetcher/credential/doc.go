// Package credential finds the credentials with which this node may read a registry:
// those that a client of the node showed a moment ago (Seen), those of docker config
// files with their helpers (Docker), and those of the kubelet's credential providers
// (Kubelet). It finds them and hands them on; fetcher/registry uses them, and only it
// exchanges them for tokens.
//
// No credential is in an error, a log or a file of this package.
package credential
