package p2p

import (
	"time"

	"github.com/opencontainers/go-digest"
)

// Tag is what a tag of a registry named at some time.
type Tag struct {
	Origin    Origin        // "oci://<registry>/<repository>/manifests/<tag>"
	Digest    digest.Digest // of the manifest, sha256
	Size      int64         // of the manifest, in bytes
	MediaType string        // of the manifest; "" = not said
	Seen      time.Time     // when the registry said so
}

// ToldTag is what other hosts say that a tag named: hearsay, for the time when its
// registry does not answer.
type ToldTag struct {
	Tag          // Seen is the latest that was told
	Hosts int    // that say so
	Seed  bool   // a seed is among them
	Host  HostID // one of them
}
