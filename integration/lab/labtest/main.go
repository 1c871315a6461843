package labtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/darter-p2p/darter/integration/lab"
)

// Main is the TestMain of a package whose tests start darter's programs: they are built
// once for all, where lab.BinEnv does not give them, and no goroutine may be left.
func Main(m *testing.M) {
	dir, err := programs()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir) // a folder in the temporary one, or none
		os.Exit(code)
	}))
}

// programs returns the folder to be removed, if it made one.
func programs() (string, error) {
	if os.Getenv(lab.BinEnv) != "" {
		return "", nil
	}
	dir, err := os.MkdirTemp("", "darter-bin-")
	if err != nil {
		return "", err
	}
	return dir, errors.Join(lab.BuildPrograms(context.Background(), dir), os.Setenv(lab.BinEnv, dir))
}
