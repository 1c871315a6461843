package mount

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/plugin/rafs"
)

// needsRoot skips where nothing can be mounted.
func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	b, err := os.ReadFile("/proc/filesystems")
	if err != nil || !strings.Contains(string(b), "\terofs\n") {
		t.Skip("this kernel has no EROFS")
	}
}

// The probe's image is one that package rafs accepts, too, but for what RAFS adds.
func TestProbeImage(t *testing.T) {
	b := ProbeImage()
	if len(b) != 2*4096 {
		t.Errorf("%d bytes", len(b))
	}
	if _, err := rafs.Open(bytes.NewReader(b), int64(len(b)), rafs.DefaultLimits()); err == nil {
		t.Error("an image without a blob table was opened")
	}
}

func device(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "device")
	if err := os.WriteFile(path, bytes.Repeat([]byte{'d'}, DeviceSize), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestProbe(t *testing.T) {
	needsRoot(t)
	m := Probe(t.TempDir(), device(t), 'd', "")
	t.Logf("%+v", m)
	if m.Mode == Refused {
		t.Fatal(m.Reason)
	}
	if m := Probe(t.TempDir(), device(t), 'x', ""); m.Mode != Refused || !strings.Contains(m.Reason, "not the device's") {
		t.Errorf("wrong bytes: %+v", m)
	}
	if m := Probe(t.TempDir(), device(t), 'd', Loop); m.Mode != Loop || m.Reason != "" {
		t.Errorf("loop devices alone: %+v", m)
	}
	if m := Probe(t.TempDir(), "/nowhere", 'd', ""); m.Mode != Refused || m.Reason == "" {
		t.Errorf("no device: %+v", m)
	}
}

// Each way of mounting gives the device's bytes, and leaves nothing behind.
func TestModes(t *testing.T) {
	needsRoot(t)
	for name, m := range map[string]Method{
		"file-backed": {Mode: FileBacked}, "file-backed, direct": {Mode: FileBacked, DirectIO: true}, "loop": {Mode: Loop},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := try(m, dir, device(t), 'd'); err != nil {
				if m.Mode == FileBacked {
					t.Skipf("this kernel cannot: %v", err)
				}
				t.Fatal(err)
			}
			if IsMounted(filepath.Join(dir, "mnt")) {
				t.Error("still mounted")
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	needsRoot(t)
	m := Probe(t.TempDir(), device(t), 'd', "")
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, bytes.Repeat([]byte{1}, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		m   Method
		img Image
		at  string
	}{
		"no image":       {m, Image{Bootstrap: broken}, t.TempDir()},
		"no mountpoint":  {m, Image{Bootstrap: broken}, "/nowhere"},
		"the machine":    {Method{Mode: Refused, Reason: "no"}, Image{Bootstrap: broken}, t.TempDir()},
		"too few places": {m, Image{Bootstrap: broken, Devices: []string{"/nowhere"}}, t.TempDir()},
	} {
		if err := tc.m.Mount(tc.img, tc.at); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Unmount(t.TempDir()); err != nil {
		t.Errorf("nothing is mounted: %v", err)
	}
}
