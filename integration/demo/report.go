package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Report is out/demo.json. Sizes are bytes.
type Report struct {
	// ImageBytes is the size of manifest, config and compressed layers together.
	ImageBytes int64 `json:"image_bytes"`
	// OriginBytes is what the registry's own interface sent while the nodes pulled:
	// bodies, headers, tags, acknowledgements, all of it.
	OriginBytes int64   `json:"origin_bytes"`
	OriginRatio float64 `json:"origin_ratio"` // OriginBytes / ImageBytes
	// SeedCopies is what the seed's own interface sent meanwhile, in images.
	SeedCopies float64      `json:"seed_copies"`
	Nodes      []NodeReport `json:"nodes"`
	Lazy       *LazyReport  `json:"lazy,omitempty"` // absent where this machine cannot mount Nydus images
	// Preheat is of another image.
	Preheat *PreheatReport `json:"preheat"`
}

// PreheatReport is an image that the manager brought to the seed and all nodes, and its
// pull on one of them after that.
type PreheatReport struct {
	ImageBytes  int64           `json:"image_bytes"`
	Seconds     float64         `json:"seconds"` // of the whole job
	Nodes       []PreheatedNode `json:"nodes"`
	PullSeconds float64         `json:"pull_seconds"`
	OriginBytes int64           `json:"origin_bytes"` // what the registry's interface sent while it was pulled
}

// PreheatedNode is what became of a preheat on one node, as the manager's job says it.
type PreheatedNode struct {
	Name     string `json:"name"`
	State    string `json:"state"`
	Contents int    `json:"contents"`
	Bytes    int64  `json:"bytes"`
}

// LazyReport is the start of the same image as a Nydus image, on a node that has nothing of it.
type LazyReport struct {
	ImageBytes int64   `json:"image_bytes"` // of its manifest, config, blobs and bootstrap
	Seconds    float64 `json:"seconds"`     // from the start of the pull to the first file read
	Fetched    int64   `json:"fetched"`     // by the node until then, from anybody
	Right      bool    `json:"right"`       // the file's bytes are those of the ordinary image
}

// NodeReport is one node's pull.
type NodeReport struct {
	Name       string  `json:"name"`
	Door       string  `json:"door"`        // snapshot or mirror
	Seconds    float64 `json:"seconds"`     // from the start of all pulls to the end of this one
	FromPeers  int64   `json:"from_peers"`  // from nodes that are not the seed
	FromSeed   int64   `json:"from_seed"`   //
	FromOrigin int64   `json:"from_origin"` // from the registry
	DigestOK   bool    `json:"digest_ok"`   // what containerd has was read back: by the mirror every blob has its digest, by the snapshot door every file is like that of such a node
}

// What must be reached; issue 2.
const (
	maxOriginRatio = 1.02
	minPeerShare   = 0.3 // of the image, of each node
	maxLazyShare   = 0.1 // of the Nydus image, before its first file was read
	maxSeedCopies  = 1.6
	// Of a preheated image the registry is asked for the tag, and who may read what.
	maxPreheatedShare = 0.05
)

// Misses says in words which goals were not reached.
func (r Report) Misses() []string {
	var misses []string
	miss := func(format string, args ...any) { misses = append(misses, fmt.Sprintf(format, args...)) }
	if r.OriginRatio > maxOriginRatio {
		miss("the registry sent %.3f images, at most %.2f are allowed", r.OriginRatio, maxOriginRatio)
	}
	if r.SeedCopies > maxSeedCopies {
		miss("the seed sent %.2f images, at most %.1f are allowed", r.SeedCopies, maxSeedCopies)
	}
	for _, n := range r.Nodes {
		if !n.DigestOK {
			miss("%s does not have the right content", n.Name)
		}
		if share := float64(n.FromPeers) / float64(r.ImageBytes); share < minPeerShare {
			miss("%s got %.2f of the image from other nodes, at least %.1f is wanted", n.Name, share, minPeerShare)
		}
	}
	if p := r.Preheat; p != nil {
		for _, n := range p.Nodes {
			if n.State != "succeeded" {
				miss("the preheat on %s is %s", n.Name, n.State)
			}
		}
		if share := float64(p.OriginBytes) / float64(p.ImageBytes); share > maxPreheatedShare {
			miss("the registry sent %.2f of the preheated image when it was pulled, at most %.2f is wanted", share, maxPreheatedShare)
		}
	}
	if l := r.Lazy; l != nil {
		if !l.Right {
			miss("the file read out of the Nydus image is not that of the ordinary one")
		}
		if share := float64(l.Fetched) / float64(l.ImageBytes); share > maxLazyShare {
			miss("%.2f of the Nydus image was fetched before its first file was read, at most %.1f is wanted", share, maxLazyShare)
		}
	}
	return misses
}

// Write writes the report as JSON.
func (r Report) Write(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, append(text, '\n'), 0o644))
}
