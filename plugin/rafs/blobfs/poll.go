package blobfs

import (
	"path/filepath"

	"golang.org/x/sys/unix"
)

// pollName is a file that go-fuse's protocol has in every root for this purpose.
const pollName = ".go-fuse-epoll-hack"

// forbidPoll has the kernel ask once whether files of the mount can be polled, and never
// again. os.Open asks, and Go's runtime cannot stop the world until it has its answer: a
// garbage collection that begins meanwhile in the process that would have to answer, which
// is this one, would never end.
func forbidPoll(dir string) error {
	fd, err := unix.Open(filepath.Join(dir, pollName), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return err
}
