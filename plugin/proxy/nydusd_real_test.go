package proxy

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/darter-p2p/darter/fetcher/upstream"
)

// TestNydusd mounts an image by the nydusd on the PATH, whose registry is the piece
// network behind the door: there is no other way to its blob.
func TestNydusd(t *testing.T) {
	binary, err := exec.LookPath("nydusd")
	if err != nil {
		t.Skip("there is no nydusd on the PATH")
	}
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	d := newDoor(t, nil, upstream.Config{})
	d.health.Ready()
	const images = "../rafs/testdata"
	const name = "be7d77eeb719f70884758d1aa800ed0fb09d701aaec469964e9d54325f0d5fef"
	blob, err := os.ReadFile(filepath.Join(images, name))
	if err != nil {
		t.Fatal(err)
	}
	if got := d.put(blob).Encoded(); got != name {
		t.Fatalf("the blob is %s", got)
	}
	dir := t.TempDir()
	mnt := filepath.Join(dir, "mnt")
	if err := os.Mkdir(mnt, 0o700); err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(map[string]any{
		"device": map[string]any{
			"backend": map[string]any{"type": "registry", "config": map[string]any{
				"scheme": "https", "host": "registry.invalid", "repo": "org/app", "timeout": 5, "connect_timeout": 5,
				"proxy": map[string]any{
					"url": "http://" + d.addr, "ping_url": "http://" + d.addr + "/server/ping", "use_http": true, "fallback": false, "check_interval": 5,
				},
			}},
			"cache": map[string]any{"type": "blobcache", "config": map[string]any{"work_dir": filepath.Join(dir, "cache")}},
		},
		"mode": "direct", "digest_validate": true, "enable_xattr": true,
	})
	if err != nil {
		t.Fatal(err)
	}
	configFile := filepath.Join(dir, "nydusd.json")
	if err := os.WriteFile(configFile, config, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, binary, "--config", configFile, "--bootstrap", filepath.Join(images, "small.boot"), "--mountpoint", mnt, "--log-level", "info")
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // it is killed
	}()
	defer func() {
		_ = unix.Unmount(mnt, unix.MNT_DETACH) // where it was mounted
		cancel()
		<-ended
		if t.Failed() {
			said, _ := os.ReadFile(log.Name())
			t.Logf("nydusd said:\n%s", said)
		}
	}()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var below, at unix.Stat_t
		if unix.Stat(dir, &below) == nil && unix.Stat(mnt, &at) == nil && below.Dev != at.Dev {
			break
		}
		select {
		case <-ended:
			t.Fatal("nydusd ended")
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("nydusd does not mount")
		}
	}
	var files int
	err = filepath.WalkDir(mnt, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		files++
		_, err = os.ReadFile(path)
		return err
	})
	if err != nil || files == 0 {
		t.Errorf("%d files, %v", files, err)
	}
	if len(d.asked) == 0 {
		t.Error("nydusd read nothing through the door")
	}
}
