package oci

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
)

// bootstrapName is where the bootstrap lies in its layer.
const bootstrapName = "image/image.boot"

// bootstrapLayer is the layer that holds the bootstrap.
type bootstrapLayer struct {
	path           string
	digest, diffID digest.Digest
	size           int64
}

// packBootstrap writes the layer of a bootstrap. The same bootstrap gives the same bytes.
func packBootstrap(bootstrap, path string) (l bootstrapLayer, err error) {
	in, err := os.Open(bootstrap)
	if err != nil {
		return l, err
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil {
		return l, err
	}
	out, err := os.Create(path)
	if err != nil {
		return l, err
	}
	packed, plain := sha256.New(), sha256.New()
	zip := gzip.NewWriter(io.MultiWriter(out, packed))
	w := tar.NewWriter(io.MultiWriter(zip, plain))
	err = errors.Join(
		w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "image/", Mode: 0o755}),
		w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: bootstrapName, Mode: 0o644, Size: fi.Size()}),
	)
	if err == nil {
		_, err = io.Copy(w, in)
	}
	if err = errors.Join(err, w.Close(), zip.Close(), out.Close()); err != nil {
		return l, fmt.Errorf("pack the bootstrap: %w", err)
	}
	if fi, err = os.Stat(path); err != nil {
		return l, err
	}
	return bootstrapLayer{
		path: path, size: fi.Size(),
		digest: digest.NewDigest(digest.SHA256, packed), diffID: digest.NewDigest(digest.SHA256, plain),
	}, nil
}
