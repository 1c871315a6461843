package snapshot

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/containerd/errdefs"
)

// Outcomes of a layer's Prepare, as logs and metrics name them.
const (
	served = "served" // fetched, unpacked and committed here
	shared = "shared" // another pull or namespace has brought it already
	gone   = "gone"   // the client went away

	// Reasons why containerd gets the ordinary mounts.
	badLabels    = "labels"      // they contradict the image, or each other
	noImage      = "no_image"    // the client does not say which image it is
	noManifest   = "manifest"    // manifest or config cannot be read, or are not an image
	unsupported  = "unsupported" // a type of layer that is left to containerd
	refused      = "refused"     // the registry wants a credential, or another
	notFetched   = "fetch"
	notUnpacked  = "unpack" // the archive or its compression is broken
	wrongDiffID  = "diff_id"
	noSpace      = "no_space"
	notPlaced    = "commit"
	tooLate      = "timeout"
	notLazy      = "no_rafs"    // a Nydus image, and this node cannot mount it
	badBootstrap = "bootstrap"  // a Nydus image that cannot be mounted, or names foreign blobs
	fellBelow    = "fell_below" // a lower layer of this pull was not served
	stopped      = "stopped"    // darterd stops
)

// fallback says why a layer is left to containerd.
type fallback struct {
	reason string
	err    error
}

func (f *fallback) Error() string { return f.reason + ": " + f.err.Error() }
func (f *fallback) Unwrap() error { return f.err }

func because(reason string, err error) error { return &fallback{reason, err} }

// reasonOf returns the reason of a fallback.
func reasonOf(err error) string {
	var f *fallback
	switch {
	case errors.As(err, &f):
		return f.reason
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return gone
	}
	return notPlaced
}

// fetchFault gives what the fetcher says its reason.
func fetchFault(what string, otherwise string, err error) error {
	reason := otherwise
	if isRefusal(err) {
		reason = refused
	}
	return because(reason, fmt.Errorf("%s: %w", what, err))
}

// unpackFault gives what the unpacker says its reason; read is what reading the layer
// said, nil where it was well.
func unpackFault(err, read error) error {
	if read != nil {
		return fetchFault("read layer", notFetched, read)
	}
	return stagingFault(err)
}

// stagingFault gives what the disk says its reason.
func stagingFault(err error) error {
	if errdefs.IsResourceExhausted(err) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return because(noSpace, err)
	}
	return because(notUnpacked, err)
}
