// Package managerv1 is the contract between darter-manager and the schedulers, seeds and
// nodes that it runs: one gRPC stream for each. It is generated from manager.proto.
package managerv1
