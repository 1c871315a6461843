// Package scheduling tests the scheduler and its client together: real gRPC over
// TLS on loopback between scheduler/rpc and p2p/tracker.
package scheduling
