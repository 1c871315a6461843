package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os/exec"
	"path/filepath"

	"github.com/darter-p2p/darter/integration/lab"
)

// client is one node's client, waiting at its gate.
type client struct {
	node *lab.Darterd
	cmd  *exec.Cmd
	gate io.Closer
	out  bytes.Buffer // its report
	errs bytes.Buffer
}

// assemble starts a client on every node; they wait.
func (s *stage) assemble(ctx context.Context) ([]*client, error) {
	var layers []string
	for _, l := range s.layers {
		layers = append(layers, l.argument())
	}
	var clients []*client
	for _, node := range s.nodes {
		c := &client{node: node}
		c.cmd = node.Host.Command(ctx, append([]string{
			s.self, fetchCommand, lab.Mirror + "/v2/" + repository + "/blobs/", "?ns=" + url.QueryEscape(s.registry.Addr), clientDir(node),
		}, layers...)...)
		c.cmd.Stdout, c.cmd.Stderr = &c.out, &c.errs
		var err error
		if c.gate, err = c.cmd.StdinPipe(); err != nil {
			return clients, err
		}
		if err := c.cmd.Start(); err != nil {
			return clients, fmt.Errorf("client of %s: %w", node.Host.Name, err)
		}
		clients = append(clients, c)
		if err := s.groups.Add(clientsGroup, c.cmd.Process.Pid); err != nil {
			return clients, err
		}
	}
	return clients, nil
}

// release opens all gates.
func release(clients []*client) error {
	var errs []error
	for _, c := range clients {
		errs = append(errs, c.gate.Close())
	}
	return errors.Join(errs...)
}

// gather waits for all clients and returns what they say, in the order of the nodes.
func gather(clients []*client) ([]fetched, error) {
	all := make([]fetched, len(clients))
	var errs []error
	for i, c := range clients {
		err := c.cmd.Wait()
		if err == nil {
			err = json.Unmarshal(c.out.Bytes(), &all[i])
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("client of %s: %w: %s", c.node.Host.Name, err, c.errs.String()))
		}
	}
	return all, errors.Join(errs...)
}

// check reads all that the clients wrote once more and compares it with the digests.
func (s *stage) check() error {
	var errs []error
	for _, node := range s.nodes {
		for _, l := range s.layers {
			errs = append(errs, verify(filepath.Join(clientDir(node), l.Digest.Encoded()), l.Digest))
		}
	}
	return errors.Join(errs...)
}
