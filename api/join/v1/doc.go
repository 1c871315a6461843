// Package joinv1 is the contract by which hosts become members of a cluster whose
// manager is the certificate authority. The messages are described in join.proto.
package joinv1
