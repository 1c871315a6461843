// Package download decides, for one host, which piece is asked of which neighbour
// and when: the life cycle of its downloads as a state machine without clocks,
// sockets or goroutines. The shell (p2p/node) and the simulation
// (integration/swarmsim) tell it what happened and carry out what it says.
package download
