// Package p2p is darter's vocabulary: the identities, sizes and sets that every
// part of the system speaks about. A task is a content to distribute, a host is a
// node, a peer is one host taking part in one task, and a piece is a fixed-length
// part of a task. The package holds values only: no sockets, no clocks, no files,
// and it imports nothing else of darter.
package p2p
