// Package trouble breaks the real system: darterd and darter-scheduler as processes in
// namespaces on shaped links, a real registry behind a relay that misbehaves, peers that
// are cut off, stopped or killed, a disk that is full. Each row says what the clients
// must get, within 10 s, and how much of the origin that may cost.
//
// A few rows are tests; TestStress… are all of them, with 8 nodes, and print the table.
package trouble
