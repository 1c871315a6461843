// Package swarmsim is the simulation: thousands of nodes in one goroutine, one event
// heap and one seed of chance. It drives the pure packages that darter ships
// (p2p/download, p2p/upload, scheduler/swarm) over links with rate and latency, by
// scenarios written in testdata/*.txt. The same scenario and seed give the same trace.
package swarmsim
