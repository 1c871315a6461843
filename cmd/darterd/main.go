// Command darterd is darter on a node: it catches the node's content fetches and
// serves them from the piece network. With seed.enable it reads origins for others.
package main

import "github.com/darter-p2p/darter/cmd/internal/program"

func command() program.Daemon[Config] {
	return program.Daemon[Config]{Name: "darterd", File: "/etc/darter/darterd.toml", Default: defaultConfig, Run: run}
}

func main() { command().Main() }
