// Package lab is a test bed of real programs on one machine: hosts are network
// namespaces on a private bridge with shaped links, and on them run a real
// registry, real containerd nodes, dockerd and darter. The demo, the tests of
// integration/containerd and the benchmarks are built on it.
//
// It needs root. Nothing of it is visible in the machine's own network: the
// bridge has a namespace of its own, and addresses exist inside namespaces only.
// A run owns one folder in /run, one in the data folder, and namespaces that
// carry its name; all are removed by Close, and by a watching process when this
// one dies first. See DESIGN.md.
package lab
