// Command darter-rafs is the mount server: it mounts Nydus (RAFS v6) images whose data
// is not on the node yet, for darterd's snapshotter plugin.
//
// Exit codes: 0 stopped by a signal; 1 failed; 2 wrong arguments or configuration.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/cmd/internal/program"
	"github.com/darter-p2p/darter/internal/process"
	"github.com/darter-p2p/darter/plugin/rafs/server"
)

func command() program.Daemon[Config] {
	return program.Daemon[Config]{Name: "darter-rafs", File: "/etc/darter/rafs.toml", Default: Default, Run: run}
}

// keep is the argument that makes this program a keeper. It is for the program itself.
const keep = "keep"

func main() {
	if len(os.Args) == 3 && os.Args[1] == keep {
		os.Exit(process.ExitCode(keeper(os.Args[2])))
	}
	command().Main()
}

// keeper holds the connection to the kernel for the mount server that started it.
func keeper(patience string) error {
	d, err := time.ParseDuration(patience)
	if err != nil {
		return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	// It costs next to nothing and holds up every container: let others go first. Where
	// that is not allowed it is as good as others.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-999"), 0)
	return server.KeepAt(3, d)
}
