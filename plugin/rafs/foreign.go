package rafs

import (
	"bytes"
	"encoding/binary"

	"github.com/darter-p2p/darter/plugin/rafs/format"
)

// foreign recognises files that are often taken for a RAFS v6 bootstrap, by
// their first bytes, and says what they are and what to do. It returns nil for
// all others.
func foreign(head []byte) error {
	first := func(magic string) bool { return bytes.HasPrefix(head, []byte(magic)) }
	switch {
	case len(head) == 0:
		return malformed("the file is empty")
	case len(head) >= 4 && binary.LittleEndian.Uint32(head) == format.MagicV5:
		return unsupported("a RAFS v5 image, which the kernel cannot mount; build it again as v6 (nydusify convert --fs-version 6, or darter convert)")
	case first("\x1f\x8b"):
		return malformed("a gzip stream; the bootstrap is the file image/image.boot inside the layer")
	case first("\x28\xb5\x2f\xfd"):
		return malformed("a zstd stream; the bootstrap is the file image/image.boot inside the layer")
	case len(head) >= 262 && string(head[257:262]) == "ustar":
		return malformed("a tar file; the bootstrap is the file image/image.boot inside the layer")
	case first("hsqs"):
		return unsupported("a squashfs image, not RAFS v6")
	}
	return nil
}
