package dynamic

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	managerv1 "github.com/darter-p2p/darter/api/manager/v1"
)

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "state")
	if s, err := read(path); s != nil || err != nil {
		t.Fatalf("no file: %v, %v", s, err)
	}
	want := &managerv1.State{Version: 7, Cluster: "prod", Schedulers: []*managerv1.Scheduler{{Name: "s", Address: "10.0.0.1:8002"}}}
	if err := keep(path, want); err != nil {
		t.Fatal(err)
	}
	if got, err := read(path); err != nil || !proto.Equal(got, want) {
		t.Fatalf("read %v, %v", got, err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		data string
		says string
	}{
		"empty":   {"", "damaged"},
		"cut":     {string(whole[:len(whole)-3]), "checksum"},
		"changed": {string(whole[:len(whole)-1]) + "x", "checksum"},
		"newer":   {strings.Replace(string(whole), " 1 ", " 2 ", 1), "format 2, and this program reads 1"},
		"strange": {"darter-manager-state one 00000000\n", "version"},
		"other":   {"[manager]\naddress = 1\n", "no state"},
		"large":   {string(make([]byte, maxFile+1)), "want at most"},
	} {
		if err := os.WriteFile(path, []byte(tt.data), 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := read(path); s != nil || err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, %v, want an error with %q", name, s, err, tt.says)
		}
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
