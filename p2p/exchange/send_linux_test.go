package exchange

import (
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A piece is not sent when the kernel has it: next to nothing of it lies there.
func TestUnsentIsBounded(t *testing.T) {
	_, near, far := gathering(t)
	tcp := far.(*net.TCPConn)
	if err := near.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	if err := tcp.SetWriteBuffer(4 << 20); err != nil { // the kernel would take all of it
		t.Fatal(err)
	}
	file, err := os.CreateTemp(t.TempDir(), "piece")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	const length = 2 << 20
	if err := file.Truncate(length); err != nil {
		t.Fatal(err)
	}
	const stall = 300 * time.Millisecond // nobody reads: then it gives up
	s := newSender(tcp, &bufferPool{}, stall)
	sent, err := s.body(Reply{Status: StatusOK, Length: length}, Answer{File: file, Length: length}, nil)
	if err == nil {
		t.Fatal("all was sent to a host that reads nothing")
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	unsent := 0
	if cerr := raw.Control(func(fd uintptr) { unsent, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQNSD) }); cerr != nil || err != nil {
		t.Skip("this kernel does not say what is unsent")
	}
	if unsent > 2*maxUnsent {
		t.Errorf("of %d bytes that were taken %d are unsent, want about %d at most", sent, unsent, maxUnsent)
	}
}
