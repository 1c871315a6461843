package cputime

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestParseMachine(t *testing.T) {
	before, err := parseMachine("cpu  100 20 30 1000 50 1 2 3 7 0\ncpu0 1 1\n")
	if err != nil {
		t.Fatal(err)
	}
	if before.Busy != 1560*time.Millisecond || before.Total != 12060*time.Millisecond {
		t.Errorf("busy %v of %v", before.Busy, before.Total)
	}
	after, err := parseMachine("cpu  150 20 30 1050 50 1 2 103 7 0\n")
	if err != nil {
		t.Fatal(err)
	}
	if share := after.Since(before).Share(); share != 0.75 {
		t.Errorf("share %v, want 0.75", share)
	}
	if steal := after.Since(before).Steal(); steal != 0.5 {
		t.Errorf("steal %v, want 0.5", steal)
	}
	if (Machine{}).Share() != 0 || (Machine{}).Steal() != 0 {
		t.Error("a share of no time")
	}
	for _, bad := range []string{"", "intr 1 2", "cpu 1 2 3", "cpu a b c d e f g h i"} {
		if _, err := parseMachine(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestFindAccounting(t *testing.T) {
	const (
		v1  = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0\n"
		cpu = "cgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\n"
		v2  = "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
	)
	for _, c := range []struct {
		mounts string
		want   accounting
	}{
		{v2 + cpu + v1, accounting{root: "/sys/fs/cgroup/cpu,cpuacct"}},
		{cpu + v2, accounting{root: "/sys/fs/cgroup/unified", v2: true}},
		{cpu, accounting{}},
	} {
		got, err := findAccounting(c.mounts)
		if got != c.want || (err != nil) != (c.want.root == "") {
			t.Errorf("%q: %+v, %v", c.mounts, got, err)
		}
	}
}

func TestGroupReadsBothVersions(t *testing.T) {
	for v2, files := range map[bool]map[string]string{
		false: {"cpuacct.usage": "1500000000\n"},
		true:  {"cpu.stat": "user_usec 1\nusage_usec 1500000\n"},
	} {
		root := t.TempDir()
		g, err := accounting{root, v2}.newGroup("x")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.used(); err == nil {
			t.Error("a group without counters has a time")
		}
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(g.dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if used, err := g.used(); used != 1500*time.Millisecond || err != nil {
			t.Errorf("v2 %v: %v, %v", v2, used, err)
		}
	}
}

func TestUsage(t *testing.T) {
	before := Usage{Groups: map[string]time.Duration{"a": 1}, Machine: Machine{Busy: 10, Total: 100}}
	after := Usage{Groups: map[string]time.Duration{"a": 11, "b": 10}, Machine: Machine{Busy: 60, Total: 200}}
	d := after.Since(before)
	if d.Groups["a"] != 10 || d.Ours() != 20 || d.Others() != 0.3 {
		t.Errorf("a %v, ours %v, others %v", d.Groups["a"], d.Ours(), d.Others())
	}
}
