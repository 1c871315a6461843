package manager_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/darter-p2p/darter/integration/lab"
)

func TestMain(m *testing.M) {
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

// programs builds darter's programs once for all tests, where they are not given, and
// returns the folder to be removed.
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

// program is darter-manager.
func program(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(os.Getenv(lab.BinEnv), "darter-manager"))
	if err != nil {
		t.Fatal(err)
	}
	return path
}
