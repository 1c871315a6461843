package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/darter-p2p/darter/integration/lab"
)

// nydusRepository is the name of the image as a Nydus image.
const nydusRepository = "demo/image-nydus:1"

// startLazily converts the image to a Nydus image, and reads a file out of it on a node
// that has none of its bytes: the rest does not have to be there. It returns nil where
// this machine cannot mount such images.
func startLazily(ctx context.Context, system *lab.System, image lab.Image, out io.Writer) (*LazyReport, error) {
	if reason := lab.NoLazy(); reason != "" {
		fmt.Fprintf(out, "\nlazy start: left out, for %s\n", reason)
		return nil, nil
	}
	node := system.Nodes[0] // the one with the snapshot door
	if _, err := system.Cluster.StartRafs(ctx, node.Darterd, ""); err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "\nlazy start: darter convert makes a Nydus image of it …")
	start := time.Now()
	nydus, err := system.Cluster.Convert(ctx, system.Registry, image.Ref, nydusRepository)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(out, " %s MiB, after %.0f s\n", mebibytes(nydus.Bytes), time.Since(start).Seconds())

	before, err := node.Darterd.Status(ctx)
	if err != nil {
		return nil, err
	}
	r := &LazyReport{ImageBytes: nydus.Bytes}
	start = time.Now()
	if err := node.Pull(ctx, lab.Ctr, nydus.Ref); err != nil {
		return nil, err
	}
	pulled := time.Since(start)
	var file string
	var content []byte
	err = node.WithRootfs(ctx, lab.Ctr, lab.Door, nydus.Ref, func(at string) (err error) {
		if file, err = firstFile(at); err != nil {
			return err
		}
		content, err = os.ReadFile(filepath.Join(at, file))
		r.Seconds = time.Since(start).Seconds()
		if err != nil {
			return err
		}
		after, err := node.Darterd.Status(ctx)
		r.Fetched = after.Bytes.FromPeers + after.Bytes.FromSeed + after.Bytes.FromOrigin -
			before.Bytes.FromPeers - before.Bytes.FromSeed - before.Bytes.FromOrigin
		return err
	})
	if err != nil {
		return nil, err
	}
	err = node.WithRootfs(ctx, lab.Ctr, lab.Door, image.Ref, func(at string) error {
		want, err := os.ReadFile(filepath.Join(at, file))
		r.Right = bytes.Equal(content, want)
		return err
	})
	fmt.Fprintf(out, "lazy start: pulled after %.2f s, /%s read after %.2f s, when %s of %s MiB had come; content right: %t\n",
		pulled.Seconds(), file, r.Seconds, mebibytes(r.Fetched), mebibytes(r.ImageBytes), r.Right)
	return r, err
}

// firstFile returns the path, below at, of the first file that is not empty.
func firstFile(at string) (string, error) {
	var first string
	err := filepath.WalkDir(at, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err != nil || info.Size() == 0 {
			return err
		}
		if first, err = filepath.Rel(at, path); err != nil {
			return err
		}
		return fs.SkipAll
	})
	if err == nil && first == "" {
		err = errors.New("the image has no file that is not empty")
	}
	return first, err
}
