// Package notify tells systemd what a service is doing, by the sd_notify protocol: a
// datagram to the socket that the environment names. Where there is no such socket
// every call does nothing.
package notify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Notifier talks to the service manager. Its methods may be called concurrently.
type Notifier struct {
	socket   string
	watchdog time.Duration // 0 = none asked for
}

// FromEnvironment reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID by getenv
// (os.Getenv).
func FromEnvironment(getenv func(string) string) *Notifier {
	n := &Notifier{socket: getenv("NOTIFY_SOCKET")}
	usec, err := strconv.ParseUint(getenv("WATCHDOG_USEC"), 10, 53)
	if pid := getenv("WATCHDOG_PID"); err == nil && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		n.watchdog = time.Duration(usec) * time.Microsecond
	}
	return n
}

// Ready says that the service is up.
func (n *Notifier) Ready() error { return n.send("READY=1") }

// Stopping says that the service is going down.
func (n *Notifier) Stopping() error { return n.send("STOPPING=1") }

// Status sets the line that systemctl status shows.
func (n *Notifier) Status(text string) error {
	return n.send("STATUS=" + strings.ReplaceAll(text, "\n", " "))
}

// Watch keeps the service manager's watchdog quiet until ctx ends: twice in its
// period it calls alive and, if that is nil, says so. A service whose alive fails or
// hangs is restarted by the manager. Without a watchdog Watch only waits for ctx.
// It returns nil.
func (n *Notifier) Watch(ctx context.Context, alive func(context.Context) error) error {
	if n.socket == "" || n.watchdog <= 0 {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(max(n.watchdog/2, time.Millisecond))
	defer tick.Stop()
	for {
		if alive(ctx) == nil {
			_ = n.send("WATCHDOG=1") // a manager that is not there restarts nobody
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (n *Notifier) send(state string) error {
	if n.socket == "" {
		return nil
	}
	// A leading @ is an abstract socket; package net takes it as it is.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify %s: %w", state, err)
	}
	_, err = conn.Write([]byte(state))
	if err = errors.Join(err, conn.Close()); err != nil {
		return fmt.Errorf("notify %s: %w", state, err)
	}
	return nil
}
