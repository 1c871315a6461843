package doctor

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestUnitOrder has systemd read the unit of contrib beside one of containerd, and
// sees that it starts containerd after darterd, and does so without darterd too.
func TestUnitOrder(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze on this machine")
	}
	dir := t.TempDir()
	unit, err := os.ReadFile("../../contrib/systemd/darterd.service")
	if err != nil {
		t.Fatal(err)
	}
	const containerd = "[Unit]\nAfter=network.target\n[Service]\nType=notify\nExecStart=/bin/true\n"
	for name, text := range map[string]string{
		"darterd.service":    strings.Replace(string(unit), "/usr/local/bin/darterd", "/bin/true", 1), // is not installed here
		"containerd.service": containerd,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", filepath.Join(dir, "darterd.service"), filepath.Join(dir, "containerd.service"))
	cmd.Env = append(os.Environ(), "SYSTEMD_LOG_LEVEL=debug", "SYSTEMD_LOG_TARGET=console")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("systemd-analyze verify: %v\n%s", err, out)
	}
	_, shown, _ := strings.Cut(string(out), "-> Unit containerd.service:")
	shown, _, _ = strings.Cut(shown, "-> Unit ")
	if !strings.Contains(shown, "After: darterd.service") {
		t.Errorf("systemd does not start containerd after darterd:\n%s", shown)
	}
	for _, needs := range []string{"Requires: darterd.service", "BindsTo: darterd.service", "Requisite: darterd.service"} {
		if strings.Contains(shown, needs) {
			t.Errorf("containerd does not start without darterd:\n%s", shown)
		}
	}
}
