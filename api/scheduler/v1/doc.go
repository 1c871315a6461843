// Package schedulerv1 is the contract between a node's darterd and a
// darter-scheduler: one gRPC stream for each node. It is generated from
// scheduler.proto.
package schedulerv1
