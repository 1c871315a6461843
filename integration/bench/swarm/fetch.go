package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/zeebo/blake3"
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
// <base><digest><query> into files of dir, checks the bytes and reports. args are dir
// and the layers, as layer.argument writes them.
func fetchMain(ctx context.Context, base, query string, args []string, gate io.Reader, out io.Writer) error {
	dir := args[0]
	var layers []layer
	for _, arg := range args[1:] {
		l, err := parseLayer(arg)
		if err != nil {
			return fmt.Errorf("fetch: %w", err)
		}
		layers = append(layers, l)
	}
	if _, err := io.Copy(io.Discard, gate); err != nil {
		return fmt.Errorf("fetch: gate: %w", err)
	}
	transport := &http.Transport{ReadBufferSize: bufferSize, DisableCompression: true}
	defer transport.CloseIdleConnections()
	result := fetched{Start: monotonic(), Layers: make([]fetchedLayer, len(layers))}
	firsts := make([]time.Duration, len(layers))
	errs := make([]error, len(layers))
	var wg sync.WaitGroup
	for i, l := range layers {
		wg.Go(func() {
			firsts[i], errs[i] = fetchLayer(ctx, transport, base+l.Digest.String()+query, l, dir)
			result.Layers[i] = fetchedLayer{l.Digest, monotonic()}
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
// first byte came. The sum is taken of the bytes as they pass.
func fetchLayer(ctx context.Context, transport http.RoundTripper, url string, want layer, dir string) (first time.Duration, err error) {
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
	file, err := os.Create(filepath.Join(dir, want.Digest.Encoded()))
	if err != nil {
		return 0, fmt.Errorf("fetch: %w", err)
	}
	defer file.Close()
	sum, buffer := blake3.New(), make([]byte, bufferSize)
	for {
		n, err := response.Body.Read(buffer)
		if n > 0 && first == 0 {
			first = monotonic()
		}
		_, _ = sum.Write(buffer[:n]) // a hash takes everything
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
	if got := sumOf(sum); got != want.Sum {
		return first, fmt.Errorf("fetch %s: the body's BLAKE3 is %s, want %s", url, got, want.Sum)
	}
	return first, nil
}

// argument is the layer as a client is told it: what it needs to ask and to check.
func (l layer) argument() string { return l.Digest.String() + "=" + l.Sum }

// parseLayer reads what argument wrote.
func parseLayer(arg string) (layer, error) {
	name, sum, _ := strings.Cut(arg, "=")
	d, err := digest.Parse(name)
	if err != nil || sum == "" {
		return layer{}, fmt.Errorf("layer %q: want <digest>=<BLAKE3>", arg)
	}
	return layer{Digest: d, Sum: sum}, nil
}

// monotonic reads the machine's monotonic clock.
func monotonic() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err) // the clock exists and the pointer is good
	}
	return time.Duration(t.Nano())
}
