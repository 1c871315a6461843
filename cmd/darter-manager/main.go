// Command darter-manager runs many clusters from one place: it knows their schedulers,
// seeds and nodes, changes their settings while they run, keeps jobs, users and audits,
// and serves a REST API. Nothing on a node's download path waits for it.
//
// The first start makes the user root, with the password in DARTER_ROOT_PASSWORD or a
// random one that is printed once.
//
// Exit codes: 0 stopped by a signal; 1 failed; 2 wrong arguments or configuration.
package main

import "github.com/darter-p2p/darter/cmd/internal/program"

func command() program.Daemon[Config] {
	return program.Daemon[Config]{Name: "darter-manager", File: "/etc/darter/manager.toml", Default: Default, Run: run}
}

func main() { command().Main() }
