package exchange

import (
	"context"
	"net"
	"time"
)

// TCP is the Transport of real hosts. Its connections have TCP_NODELAY, for what is
// small is gathered before it is written, and keepalive. Buffer sizes are left to
// the kernel, which tunes them; setting them would switch that off.
type TCP struct{}

func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 4}
}

// Dial connects to addr.
func (TCP) Dial(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: keepAlive()}
	return d.DialContext(ctx, "tcp", addr)
}

// Listen listens at addr.
func (TCP) Listen(addr string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAliveConfig: keepAlive()}
	lc.SetMultipathTCP(false)
	return lc.Listen(context.Background(), "tcp", addr)
}
