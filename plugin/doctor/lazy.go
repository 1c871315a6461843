package doctor

import (
	"context"
	"errors"
	"io/fs"

	"github.com/darter-p2p/darter/plugin/rafs/client"
)

// lazy tells how this machine mounts Nydus images, which the mount server has tried.
// A node that has none works without, and so does one without such a server.
func (f *facts) lazy(ctx context.Context) Finding {
	switch {
	case !f.Snapshots:
		return skip("the snapshot door is off")
	case f.Lazy == nil:
		return skip("rafs.socket in %s is empty: Nydus images are refused", f.Config)
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	s, err := f.Lazy(ctx)
	if errors.Is(err, fs.ErrNotExist) { // no socket: it was not installed, or not started
		return skip("darter-rafs does not run, and Nydus images are refused; systemctl enable --now darter-rafs where they are wanted")
	}
	if err != nil {
		return warn("systemctl enable --now darter-rafs; or set rafs.socket = '' in "+f.Config+" where no Nydus image is wanted",
			"darter-rafs does not answer, so that pulls of Nydus images fail: %v", err)
	}
	switch s.Mode {
	case client.FileBacked:
		return ok("darter-rafs %s mounts files (EROFS), %s of chunks held", s.Version, gib(s.Cache.Used))
	case client.Loop:
		return ok("darter-rafs %s mounts by loop devices (%s), %s of chunks held", s.Version, s.Reason, gib(s.Cache.Used))
	}
	return warn("a kernel with EROFS and FUSE (5.16 or later, best 6.12) can; nydusd beside darter works without, see contrib/nydus",
		"this machine cannot mount Nydus images, and their pulls fail: %s", s.Reason)
}
