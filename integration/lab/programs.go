package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// BinEnv names the folder of darter's programs. Where it is not set they are
// built from the source tree that this process was started in.
const BinEnv = "DARTER_BIN"

// programs are darter's own, by which a folder of them is known.
var programs = []string{"darterd", "darter-scheduler", "darter"}

// Programs is the folder that holds darter's programs.
type Programs string

// FindPrograms returns the programs of $DARTER_BIN, or builds them into the lab's data.
func (l *Lab) FindPrograms(ctx context.Context) (Programs, error) {
	dir := os.Getenv(BinEnv)
	if dir == "" {
		dir = filepath.Join(l.DataDir(), "bin")
		if err := BuildPrograms(ctx, dir); err != nil {
			return "", err
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("darter's programs: %w", err)
	}
	for _, name := range programs {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return "", fmt.Errorf("darter's programs: %w", err)
		}
	}
	return Programs(dir), nil
}

// BuildPrograms builds darter's programs into a folder.
func BuildPrograms(ctx context.Context, dir string) error {
	build := exec.CommandContext(ctx, "go", "build", "-o", dir+"/", "github.com/darter-p2p/darter/cmd/...")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build darter's programs: %w: %s", err, out)
	}
	return nil
}

func (p Programs) path(name string) string { return filepath.Join(string(p), name) }
