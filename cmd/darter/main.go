// Command darter asks and prepares the programs of a cluster: what a node is doing
// and what is wrong with it, where the bytes of an image came from, files by URL,
// containerd's configuration, Nydus images made of ordinary ones, and the certificates
// that members need.
//
// Exit codes: 0 done; 1 failed; 2 wrong arguments; 3 darterd is not running or does
// not answer; 4 there is no such task, image or file; 5 to 8 are those of get and convert.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/darter-p2p/darter/internal/process"
)

func main() {
	ctx, stop := process.Signals(context.Background())
	err := command(os.Stdout, os.Stderr, os.Args[1:]).ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "darter:", err)
	}
	os.Exit(exitCode(err))
}
