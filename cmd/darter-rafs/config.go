package main

import (
	"fmt"

	"github.com/sirupsen/logrus"

	"github.com/darter-p2p/darter/plugin/rafs/server"
)

// Config is darter-rafs's configuration file.
type Config struct {
	Log     string        `toml:"log_level" doc:"Least severe messages that are logged: error, warning, info, debug or trace."`
	Metrics string        `toml:"metrics" doc:"HTTP address of /metrics, /healthz, /healthy and /server/ping; empty serves none."`
	Rafs    server.Config `toml:"rafs" doc:"How images are mounted."`
}

// Default returns the configuration of a node with its files in the usual places.
func Default() Config {
	return Config{Log: "info", Metrics: "127.0.0.1:40903", Rafs: server.Default()}
}

// Validate returns what cannot work.
func (c *Config) Validate() error {
	if _, err := logrus.ParseLevel(c.Log); err != nil {
		return fmt.Errorf("log_level: %w", err)
	}
	if err := c.Rafs.Validate(); err != nil {
		return fmt.Errorf("rafs: %w", err)
	}
	return nil
}
