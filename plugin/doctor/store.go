package doctor

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

func (f *facts) store(context.Context) Finding {
	if f.statusErr != nil {
		return skip("darterd does not run")
	}
	s := f.status.Store
	var fs unix.Statfs_t
	if err := unix.Statfs(s.Dir, &fs); err != nil {
		return fail("look at store.root in "+f.Config, "%s: %v", s.Dir, err)
	}
	total := int64(fs.Blocks) * fs.Bsize
	if s.DiskFree <= s.Floor {
		return fail("free space on it, or lower store.floor; until then downloads stream through without being kept", "%s has %s free, and store.floor leaves %s to others", s.Dir, gib(s.DiskFree), gib(s.Floor))
	}
	text, err := os.ReadFile(f.Kubelet)
	if err != nil {
		return ok("%s free in %s, %s of it left to others", gib(s.DiskFree), s.Dir, gib(s.Floor))
	}
	if least := eviction(text, total); s.Floor < least {
		return warn(fmt.Sprintf("set store.floor in %s to %s or more", f.Config, gib(least)), "store.floor is %s, and the kubelet evicts pods when less than %s of this file system is free", gib(s.Floor), gib(least))
	}
	return ok("%s free in %s, %s of it left to others, more than the kubelet's threshold", gib(s.DiskFree), s.Dir, gib(s.Floor))
}

var threshold = regexp.MustCompile(`(?m)^\s*"?(nodefs|imagefs)\.available"?\s*:\s*["']?([0-9.]+)([A-Za-z%]*)`)

// eviction returns the free bytes of a file system at which a kubelet with this
// configuration evicts: the larger of nodefs and imagefs, and its defaults of 10 % and
// 15 % for what is not said.
func eviction(config []byte, total int64) int64 {
	limits := map[string]float64{"nodefs": 0.10 * float64(total), "imagefs": 0.15 * float64(total)}
	units := map[string]float64{"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
	_, hard, _ := strings.Cut(string(config), "evictionHard")
	for _, m := range threshold.FindAllStringSubmatch(hard, -1) {
		n, err := strconv.ParseFloat(m[2], 64)
		unit, known := units[m[3]]
		switch {
		case err != nil:
		case m[3] == "%":
			limits[m[1]] = n / 100 * float64(total)
		case known:
			limits[m[1]] = n * unit
		}
	}
	return int64(max(limits["nodefs"], limits["imagefs"]))
}

func gib(n int64) string { return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30)) }
