// Package manager starts real darter-manager processes and asks their REST API: for the
// tests beside it, which need more than one process, a real database server or a real
// containerd; for the benchmark; and for the demo.
package manager
