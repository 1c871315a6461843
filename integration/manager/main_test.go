package manager_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/darter-p2p/darter/integration/lab"
	"github.com/darter-p2p/darter/integration/lab/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }

// program is darter-manager.
func program(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(os.Getenv(lab.BinEnv), "darter-manager"))
	if err != nil {
		t.Fatal(err)
	}
	return path
}
