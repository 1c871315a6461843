package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"github.com/containerd/errdefs"
	"github.com/pelletier/go-toml/v2"

	"github.com/darter-p2p/darter/plugin/dropin"
	"github.com/darter-p2p/darter/plugin/rafs/client"
)

const darterdConfig = "/etc/darter/darterd.toml"

// nodeSettings are those of darterd's settings that its neighbours on the node need.
// The rest of its file is darterd's to check.
type nodeSettings struct {
	Snapshot struct {
		Enable bool   `toml:"enable"`
		Socket string `toml:"socket"`
		Root   string `toml:"root"`
	} `toml:"snapshot"`
	Rafs struct {
		Socket string `toml:"socket"`
	} `toml:"rafs"`
	Mirror struct {
		Listen string `toml:"listen"`
	} `toml:"mirror"`
	TLS struct {
		CA   string `toml:"ca"`
		Cert string `toml:"cert"`
		Key  string `toml:"key"`
	} `toml:"tls"`
	Seed struct {
		Enable bool `toml:"enable"`
	} `toml:"seed"`
	Peer struct {
		Listen string `toml:"listen"`
	} `toml:"peer"`
	Scheduler struct {
		Addresses []string `toml:"addresses"`
	} `toml:"scheduler"`
	Manager struct {
		Address string `toml:"address"`
	} `toml:"manager"`
	Control struct {
		Socket string `toml:"socket"`
	} `toml:"control"`
}

// readNodeSettings reads darterd's file over its defaults. No file is the defaults.
func readNodeSettings(path string) (nodeSettings, error) {
	var s nodeSettings
	usual := dropin.Default()
	s.Snapshot.Socket, s.Snapshot.Root = usual.Socket, usual.Root
	s.Mirror.Listen, s.Peer.Listen = "127.0.0.1:65001", ":65002"
	s.TLS.CA, s.TLS.Cert, s.TLS.Key = "/etc/darter/tls/ca.crt", "/etc/darter/tls/node.crt", "/etc/darter/tls/node.key"
	s.Rafs.Socket = client.Default().Socket
	s.Control.Socket = "/run/darter/darterd.sock"
	text, err := os.ReadFile(path)
	if err == nil {
		err = toml.Unmarshal(text, &s)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil && len(s.Scheduler.Addresses) == 0 && s.Manager.Address == "" {
		s.Scheduler.Addresses = []string{"127.0.0.1:8002"}
	}
	if err == nil {
		_, _, err = net.SplitHostPort(s.Mirror.Listen)
	}
	if err != nil {
		return s, fmt.Errorf("read darterd's configuration %s: %w: %w", path, err, errdefs.ErrInvalidArgument)
	}
	return s, nil
}

// mirrorURL is where containerd on this node reaches the mirror.
func (s nodeSettings) mirrorURL() string {
	host, port, _ := net.SplitHostPort(s.Mirror.Listen)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}
