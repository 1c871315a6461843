package serial

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/p2p"
)

// segmentKey begins, in an origin's fragment, what names a segment of what is there. A
// fragment never goes to a server. A host that knows no segments refuses the origin.
const segmentKey = "darter-segment="

// name is what an origin says of a segment: the first one of whatever reading is there of
// a generation, or the later ones of a certain reading.
type name struct {
	reading Reading // of a later one
	index   uint32  // 0 = the first
}

// First returns the origin of the first segment of a content. The moment tells contents
// apart whose origin does not: "" where base names a generation.
func First(base p2p.Origin, moment string) p2p.Origin {
	return withFragment(base, "first."+moment)
}

// Later returns the origin of segment index, from 1, of a reading.
func Later(base p2p.Origin, r Reading, index uint32) p2p.Origin {
	return withFragment(base, r.String()+"."+strconv.FormatUint(uint64(index), 10))
}

func withFragment(base p2p.Origin, s string) p2p.Origin {
	sep := "#"
	if strings.Contains(string(base), "#") {
		sep = "&"
	}
	return base + p2p.Origin(sep+segmentKey+s)
}

// IsSegment reports whether an origin is that of a segment.
func IsSegment(o p2p.Origin) bool {
	_, _, is := cutName(o)
	return is
}

func cutName(o p2p.Origin) (base p2p.Origin, s string, is bool) {
	hash := strings.IndexByte(string(o), '#')
	if hash < 0 {
		return o, "", false
	}
	i := strings.LastIndex(string(o)[hash:], segmentKey)
	if i < 1 {
		return o, "", false
	}
	return o[:hash+i-1], string(o)[hash+i+len(segmentKey):], true
}

// parse reads what First and Later wrote. The error is of class ErrInvalidArgument.
func parse(o p2p.Origin) (base p2p.Origin, n name, err error) {
	base, s, is := cutName(o)
	bad := fmt.Errorf("origin %s: no such segment: %w", o, errdefs.ErrInvalidArgument)
	first, index, ok := strings.Cut(s, ".")
	if !is || !ok {
		return "", n, bad
	}
	if first == "first" {
		return base, n, nil
	}
	raw, err := hex.DecodeString(first)
	if err != nil || len(raw) != len(n.reading) {
		return "", n, bad
	}
	i, err := strconv.ParseUint(index, 10, 32)
	if err != nil || i == 0 {
		return "", n, bad
	}
	return base, name{Reading(raw), uint32(i)}, nil
}
