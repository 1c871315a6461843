package lab

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// Tool returns the path of a program on PATH, and an error in words if it is not
// there or too old.
func Tool(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is not on PATH: `make test` and `make demo` put it there", name)
	}
	if name == "containerd" {
		// Debian's docker.io brings containerd 1.
		version, err := exec.Command(path, "--version").Output()
		if err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
		if strings.Contains(string(version), " 1.") || strings.Contains(string(version), " v1.") {
			return "", fmt.Errorf("%s is too old (%s): `make test` and `make demo` put a newer one on PATH", path, strings.TrimSpace(string(version)))
		}
	}
	return filepath.Abs(path)
}

// Unmet says in words why a lab with these tools cannot be; "" if it can.
func Unmet(tools ...string) string {
	if reason := Unavailable(); reason != "" {
		return reason
	}
	for _, tool := range tools {
		if _, err := Tool(tool); err != nil {
			return err.Error()
		}
	}
	return ""
}
