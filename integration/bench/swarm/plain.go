package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/darter-p2p/darter/integration/bench/cputime"
)

// plainly lets curl get the layers from the registry on the first node, one after
// another with one connection, and returns what it took.
func (s *stage) plainly(ctx context.Context) (curlReport, cputime.Usage, error) {
	if err := s.chill(); err != nil {
		return curlReport{}, cputime.Usage{}, err
	}
	node := s.nodes[0].Host
	dir := filepath.Join(node.Data, "curl")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return curlReport{}, cputime.Usage{}, err
	}
	defer os.RemoveAll(dir)
	argv := []string{"sh", "-c", `read -r _; exec "$@"`, "sh", "curl", "--silent", "--show-error", "--fail"}
	for _, l := range s.layers {
		argv = append(argv, "-o", filepath.Join(dir, l.Digest.Encoded()), "http://"+s.registry.Addr+"/v2/"+repository+"/blobs/"+l.Digest.String())
	}
	cmd := node.Command(ctx, argv...)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	gate, err := cmd.StdinPipe()
	if err != nil {
		return curlReport{}, cputime.Usage{}, err
	}
	if err := cmd.Start(); err != nil {
		return curlReport{}, cputime.Usage{}, fmt.Errorf("curl: %w", err)
	}
	err = s.groups.Add(curlGroup, cmd.Process.Pid)
	before, bad := s.groups.Read()
	start := time.Now()
	err = errors.Join(err, bad, gate.Close())
	if ended := cmd.Wait(); ended != nil {
		return curlReport{}, cputime.Usage{}, fmt.Errorf("curl: %w: %s", errors.Join(err, ended), said.String())
	}
	took := time.Since(start)
	after, bad := s.groups.Read()
	used := after.Since(before)
	report := curlReport{
		Seconds:  took.Seconds(),
		CPUPerGB: perGB(used.Groups[curlGroup]+used.Groups[registryGroup], s.plan.Size),
		Busy:     used.Machine.Share(),
	}
	return report, used, errors.Join(err, bad)
}

// perGB is CPU seconds per 10⁹ bytes.
func perGB(used time.Duration, bytes int64) float64 { return used.Seconds() / (float64(bytes) / 1e9) }

const (
	flowPort = 5003
	// maxFlow bounds the bytes of the flow that measures a link.
	maxFlow = 128 << 20
)

// goodput sends bytes by one TCP connection from the registry's host to the first node
// and returns bytes per second, from the first byte that came to the last.
func (s *stage) goodput(ctx context.Context) (float64, error) {
	listener, err := s.nodes[0].Host.Listen(flowPort)
	if err != nil {
		return 0, fmt.Errorf("goodput: %w", err)
	}
	defer listener.Close()
	sent := make(chan error, 1)
	go func() {
		err := s.send(ctx, s.nodes[0].Host.HostPort(flowPort), min(s.plan.Size, maxFlow))
		if err != nil {
			listener.Close() // nobody will connect
		}
		sent <- err
	}()
	conn, err := listener.Accept()
	if err != nil {
		return 0, errors.Join(fmt.Errorf("goodput: %w", err), <-sent)
	}
	defer conn.Close()
	buffer := make([]byte, bufferSize)
	first, err := conn.Read(buffer)
	start := time.Now()
	var rest int64
	if err == nil {
		rest, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{conn}, buffer)
	}
	took := time.Since(start)
	if err = errors.Join(err, <-sent); err != nil {
		return 0, fmt.Errorf("goodput: %w", err)
	}
	if rest == 0 || first == 0 {
		return 0, errors.New("goodput: nothing came")
	}
	return float64(rest) / took.Seconds(), nil
}

// send sends n zeros from the registry's host.
func (s *stage) send(ctx context.Context, to string, n int64) error {
	conn, err := s.registry.Host.DialContext(ctx, "tcp", to)
	if err != nil {
		return err
	}
	defer conn.Close()
	buffer := make([]byte, bufferSize)
	for n > 0 {
		wrote, err := conn.Write(buffer[:min(n, bufferSize)])
		if err != nil {
			return err
		}
		n -= int64(wrote)
	}
	return nil
}
