package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/continuity/fs"

	"github.com/darter-p2p/darter/plugin/layer"
)

// Unpacker makes files of a layer's bytes, as package layer does.
type Unpacker interface {
	// Unpack reads the compressed layer r to its end and unpacks it into the empty dir.
	Unpack(ctx context.Context, r io.Reader, mediaType, dir string, o layer.Options) (layer.Result, error)
	// Settle gives the directories that a layer does not describe what those of the
	// layers below have; parents are their directories, the nearest first.
	Settle(ctx context.Context, dir string, implicit, parents []string) error
}

// layers is the Unpacker that package layer is.
type layers struct{}

func (layers) Unpack(ctx context.Context, r io.Reader, mediaType, dir string, o layer.Options) (layer.Result, error) {
	return layer.Unpack(ctx, r, mediaType, dir, o)
}

func (layers) Settle(ctx context.Context, dir string, implicit, parents []string) error {
	return layer.Settle(ctx, dir, implicit, parents)
}

// staged is a layer that is unpacked and verified, and no snapshot yet.
type staged struct {
	dir        string // of the snapshot to be
	implicit   []string
	usage      snapshots.Usage
	compressed int64 // bytes
	stood      bool  // a Nydus image stands for it: what is below does not matter
}

// stage fetches a layer, unpacks it into dir while it arrives, and verifies it. A Nydus
// data blob stays where it is: its layer is empty, and so is one for which a Nydus image
// stands.
func stage(ctx context.Context, lib *library, u Unpacker, m *image, l *imageLayer, dir string) (*staged, error) {
	if m.alt != nil {
		if err := stageAlternative(m, l, dir); err != nil {
			return nil, stagingFault(err)
		}
	}
	if l.role == data || m.alt != nil {
		counted := files(dir)
		if m.alt != nil {
			counted = dir
		}
		usage, err := fs.DiskUsage(ctx, counted)
		if err != nil {
			return nil, stagingFault(err)
		}
		return &staged{dir: dir, usage: snapshots.Usage(usage), stood: m.alt != nil}, nil
	}
	got, err := unpack(ctx, lib, u, m.name, l, dir)
	if err != nil || l.role != bootstrap {
		return got, err
	}
	blobs := m.dataBlobs()
	if err := checkBootstrap(files(dir), blobs); err != nil {
		return nil, because(badBootstrap, err)
	}
	n := note{Image: m.name.ref, Registry: m.name.registry, Repository: m.name.repository, Manifest: m.name.manifest, Blobs: blobs}
	if err := n.write(dir); err != nil {
		return nil, stagingFault(err)
	}
	return got, nil
}

// unpack fetches a layer, unpacks it into dir while it arrives, and verifies it.
func unpack(ctx context.Context, lib *library, u Unpacker, n *imageName, l *imageLayer, dir string) (*staged, error) {
	body, err := lib.layer(ctx, n, l.blob)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	r := &watched{r: body}
	res, err := u.Unpack(ctx, r, l.blob.MediaType, files(dir), layer.Options{Bottom: l.index == 0})
	if err != nil {
		return nil, unpackFault(err, r.err)
	}
	if res.DiffID != l.diffID {
		return nil, because(wrongDiffID, fmt.Errorf("layer %s unpacks to %s, its config says %s", l.blob.Digest, res.DiffID, l.diffID))
	}
	// As the overlay snapshotter counts at commit, but not while others wait for the metadata.
	usage, err := fs.DiskUsage(ctx, files(dir))
	if err != nil {
		return nil, because(notUnpacked, fmt.Errorf("count the files: %w", err))
	}
	return &staged{dir: dir, implicit: res.Implicit, usage: snapshots.Usage(usage), compressed: r.n}, nil
}

// watched keeps what its reader said, so that a fault of the source is not taken for
// one of the archive.
type watched struct {
	r   io.Reader
	n   int64
	err error
}

func (w *watched) Read(p []byte) (int, error) {
	k, err := w.r.Read(p)
	w.n += int64(k)
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	return k, err
}
