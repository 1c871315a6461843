//go:build !linux

package exchange

import (
	"net"
	"time"
)

// newSender returns the sender for a connection.
func newSender(conn net.Conn, buffers *bufferPool, stall time.Duration) sender {
	return &copier{conn: conn, buffers: buffers, stall: stall}
}
