package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"

	"github.com/opencontainers/go-digest"
	"github.com/zeebo/blake3"

	"github.com/darter-p2p/darter/integration/lab"
)

// repository is the layers' place in the registry.
const repository = "bench/layers"

// layer is one blob of random bytes.
type layer struct {
	Digest digest.Digest
	Sum    string // BLAKE3-256 in hex, which clients check: a third of the CPU time of sha256
	Size   int64
}

// sumOf is a layer's Sum.
func sumOf(h *blake3.Hasher) string { return hex.EncodeToString(h.Sum(nil)) }

// randomBytes are size bytes that no compression makes smaller, the same for a seed.
func randomBytes(seed uint64, size int64) io.Reader {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	return io.LimitReader(rand.NewChaCha8(key), size)
}

// push puts a layer of random bytes into the registry, not over its link.
func push(ctx context.Context, registry *lab.Registry, seed uint64, size int64) (layer, error) {
	transport := registry.Host.Transport()
	defer transport.CloseIdleConnections()
	at, err := url.Parse("http://" + registry.Addr + "/v2/" + repository + "/blobs/uploads/")
	if err != nil {
		return layer{}, fmt.Errorf("push: %w", err)
	}
	// send asks and moves on to the location that the registry names.
	send := func(method string, body io.Reader, length int64, want int) error {
		request, err := http.NewRequestWithContext(ctx, method, at.String(), body)
		if err != nil {
			return fmt.Errorf("push: %w", err)
		}
		request.ContentLength = length
		request.Header.Set("Content-Type", "application/octet-stream")
		response, err := transport.RoundTrip(request)
		if err != nil {
			return fmt.Errorf("push: %w", err)
		}
		defer response.Body.Close()
		if response.StatusCode != want {
			said, _ := io.ReadAll(io.LimitReader(response.Body, 500)) // the status says enough
			return fmt.Errorf("push: %s %s: %s: %s", method, at, response.Status, said)
		}
		at, err = at.Parse(response.Header.Get("Location"))
		return err
	}
	if err := send(http.MethodPost, http.NoBody, 0, http.StatusAccepted); err != nil {
		return layer{}, err
	}
	name, sum := sha256.New(), blake3.New()
	if err := send(http.MethodPatch, io.TeeReader(randomBytes(seed, size), io.MultiWriter(name, sum)), size, http.StatusAccepted); err != nil {
		return layer{}, err
	}
	l := layer{digest.NewDigest(digest.SHA256, name), sumOf(sum), size}
	query := at.Query()
	query.Set("digest", l.Digest.String())
	at.RawQuery = query.Encode()
	return l, send(http.MethodPut, http.NoBody, 0, http.StatusCreated)
}

// verify compares a file's sha256 with its digest.
func verify(path string, want digest.Digest) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	got, err := digest.SHA256.FromReader(file)
	if err == nil && got != want {
		err = fmt.Errorf("%s has the digest %s", path, got)
	}
	return err
}
