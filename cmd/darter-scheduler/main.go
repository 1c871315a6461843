// Command darter-scheduler introduces the nodes of a cluster to each other: who is a
// neighbour of whom in a task, and which seed reads a task from its origin.
//
// Exit codes: 0 stopped by a signal; 1 failed; 2 wrong arguments or configuration.
package main

import "github.com/darter-p2p/darter/cmd/internal/program"

func command() program.Daemon[Config] {
	return program.Daemon[Config]{Name: "darter-scheduler", File: "/etc/darter/scheduler.toml", Default: Default, Run: run}
}

func main() { command().Main() }
