// Package nodev1 is the contract between a darter-manager and a node's darterd: the parts
// of jobs that fall to one node. The messages are described in node.proto.
package nodev1
