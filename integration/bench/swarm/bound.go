package main

import (
	"math/bits"

	"github.com/darter-p2p/darter/p2p"
)

// lowerBound is the time in seconds below which no swarm can hand the layers to all of
// n nodes: every node's link carries all bytes once, at the rate that one TCP flow was
// seen to reach, and the last piece needs floor(log2 n) further hops.
func lowerBound(layers []int64, goodput float64, n int) float64 {
	var size, piece int64
	for _, l := range layers {
		size += l
		piece = max(piece, min(l, p2p.GeometryFor(l).PieceLength))
	}
	hops := bits.Len(uint(n)) - 1
	return (float64(size) + float64(hops)*float64(piece)) / goodput
}
