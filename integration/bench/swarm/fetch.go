package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

const fetchCommand = "fetch"

// fetched is what a client says on its standard output. Times are readings of the
// machine's monotonic clock, which all processes share.
type fetched struct {
	Start  time.Duration  `json:"start"` // when the gate opened
	First  time.Duration  `json:"first"` // the first byte of any layer
	Layers []fetchedLayer `json:"layers"`
}

// fetchedLayer is one layer that is whole and verified.
type fetchedLayer struct {
	Digest digest.Digest `json:"digest"`
	End    time.Duration `json:"end"`
}

// last is when the last layer was verified.
func (f fetched) last() time.Duration {
	var last time.Duration
	for _, l := range f.Layers {
		last = max(last, l.End)
	}
	return last
}

// fetchMain waits until its standard input ends, gets all layers at once by
// <base><digest><query> into files of dir, checks their digests and reports.
func fetchMain(ctx context.Context, base, query string, args []string, gate io.Reader, out io.Writer) error {
	dir, digests := args[0], args[1:]
	if _, err := io.Copy(io.Discard, gate); err != nil {
		return fmt.Errorf("fetch: gate: %w", err)
	}
	transport := &http.Transport{ReadBufferSize: bufferSize, DisableCompression: true}
	defer transport.CloseIdleConnections()
	result := fetched{Start: monotonic(), Layers: make([]fetchedLayer, len(digests))}
	firsts := make([]time.Duration, len(digests))
	errs := make([]error, len(digests))
	var wg sync.WaitGroup
	for i, d := range digests {
		wg.Go(func() {
			firsts[i], errs[i] = fetchLayer(ctx, transport, base+d+query, digest.Digest(d), dir)
			result.Layers[i] = fetchedLayer{digest.Digest(d), monotonic()}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, f := range firsts {
		if result.First == 0 || f < result.First {
			result.First = f
		}
	}
	return json.NewEncoder(out).Encode(result)
}

// fetchLayer gets one layer into a file that is named like it, and returns when its
// first byte came. The digest is taken of the bytes as they pass.
func fetchLayer(ctx context.Context, transport http.RoundTripper, url string, want digest.Digest, dir string) (first time.Duration, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, fmt.Errorf("fetch: %w", err)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return 0, fmt.Errorf("fetch: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(response.Body, 500)) // the status says enough
		return 0, fmt.Errorf("fetch %s: %s: %s", url, response.Status, said)
	}
	file, err := os.Create(filepath.Join(dir, want.Encoded()))
	if err != nil {
		return 0, fmt.Errorf("fetch: %w", err)
	}
	defer file.Close()
	sum, buffer := sha256.New(), make([]byte, bufferSize)
	for {
		n, err := response.Body.Read(buffer)
		if n > 0 && first == 0 {
			first = monotonic()
		}
		sum.Write(buffer[:n])
		if _, err := file.Write(buffer[:n]); err != nil {
			return first, fmt.Errorf("fetch: %w", err)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return first, fmt.Errorf("fetch %s: %w", url, err)
		}
	}
	if got := digest.NewDigest(digest.SHA256, sum); got != want {
		return first, fmt.Errorf("fetch %s: the body's digest is %s", url, got)
	}
	return first, nil
}

// monotonic reads the machine's monotonic clock.
func monotonic() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err) // the clock exists and the pointer is good
	}
	return time.Duration(t.Nano())
}
