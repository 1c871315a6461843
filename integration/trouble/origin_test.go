package trouble

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/darter-p2p/darter/integration/lab"
)

// unbearable is what a client may wait for a word in a test. The goal is 10 s, which the
// table shows; the rest is left to machines that others use.
const unbearable = 40 * time.Second

// row is an origin that misbehaves, and what becomes of it.
type row struct {
	fault  fault
	size   int64   // of the content; 0 = 4 MiB
	status int     // that clients must get; 0 = the right bytes, -1 = any error or a body that breaks off
	limit  int64   // bytes that clients read; 0 = all
	copies float64 // that the origin may send; 0 = it does not matter
}

// origins are the rows of the table that are about the origin.
var origins = map[string]row{
	"behaves":                   {size: 16 * mib, copies: 1.2},
	"401":                       {fault: status(401, 0), status: 401},
	"403":                       {fault: status(403, 0), status: 403},
	"404":                       {fault: status(404, 0), status: 404},
	"416":                       {fault: status(416, 0), status: 416},
	"429":                       {fault: status(429, 0), status: 429},
	"500":                       {fault: status(500, 0), status: 500},
	"503":                       {fault: status(503, 0), status: 503},
	"429 once":                  {fault: status(429, 1), size: 16 * mib, copies: 1.2},
	"500 once":                  {fault: status(500, 1), size: 16 * mib, copies: 1.2},
	"503 twice":                 {fault: status(503, 2), size: 16 * mib, copies: 1.2},
	"breaks off every MiB":      {fault: cut(mib), size: 16 * mib, copies: 1.2},
	"breaks off before a byte":  {fault: cut(0), status: -1},
	"hangs before its head":     {fault: hang(-1), status: -1},
	"hangs after its head":      {fault: hang(0), status: -1},
	"hangs before, once":        {fault: once(hang(-1)), size: 16 * mib, copies: 1.2},
	"hangs after head, once":    {fault: once(hang(0)), size: 16 * mib, copies: 1.2},
	"hangs in the middle, once": {fault: once(hang(mib)), size: 16 * mib, copies: 1.2},
	"1 KiB/s, once":             {fault: once(trickle(1 << 10)), size: 16 * mib, copies: 1.2},
	"1 KiB/s, 4 KiB":            {fault: trickle(1 << 10), size: 4 << 10, copies: 1.2},
	"1 KiB/s, 16 MiB":           {fault: trickle(1 << 10), size: 16 * mib, limit: 512},
	"says too long a length":    {fault: length(1000), size: 16 * mib, status: -1, copies: 1.2},
	"says too short a length":   {fault: length(-1000), size: 16 * mib, status: -1, copies: 1.2},
	"changes in the middle":     {fault: changes, size: 16 * mib, status: -1},
}

// play lets a client without darter and then the clients of all nodes get a content
// from an origin that misbehaves, and returns the row of the table.
func (s *stage) play(t *testing.T, name string, r row) {
	if r.size == 0 {
		r.size = 4 * mib
	}
	var direct outcome
	if !strings.Contains(name, "hangs") && name != "1 KiB/s, once" { // a client of that waits for ever
		plain := s.push(r.size, r.fault)
		direct = get(t.Context(), s.seed.Host, s.plainURL(plain), plain, r.limit)
	}
	digest := s.push(r.size, r.fault)
	got := s.crowd(digest, r.limit, s.nodes...)
	gets, sent := s.relay.count(digest)
	t.Log(line(name, direct, got, gets, float64(sent)/float64(r.size)))
	for i, o := range got {
		who := s.nodes[i].Host.Name
		switch {
		case o.status == 200 && !o.right && o.err == nil:
			t.Errorf("%s got wrong bytes", who)
		case r.status == 0 && !o.right:
			t.Errorf("%s did not get the right bytes: %d, %v", who, o.status, o.err)
		case r.status > 0 && o.status != r.status:
			t.Errorf("%s got %d, want %d", who, o.status, r.status)
		case r.status < 0 && o.right:
			t.Errorf("%s got the right bytes of an origin that has others", who)
		case direct.right && !o.right && r.status == 0:
			t.Errorf("%s failed, and a client without darter did not", who)
		}
		if o.first > unbearable || o.idle > unbearable {
			t.Errorf("%s waited for %v, and then for %v", who, o.first, o.idle)
		}
	}
	if copies := float64(sent) / float64(r.size); r.copies > 0 && copies > r.copies && slowest(got).took < 5*time.Second {
		t.Errorf("the origin sent %.2f copies in %d answers", copies, gets)
	}
}

// slowest is the one that took the longest. Where that is very long, the machine is busy
// with others: readers then starve for reasons that no origin gives.
func slowest(all []outcome) outcome {
	return slices.MaxFunc(all, func(a, b outcome) int { return int(a.took - b.took) })
}

// line is a row of the table.
func line(name string, direct outcome, got []outcome, gets int, copies float64) string {
	kinds := map[string]int{}
	var first, idle time.Duration
	for _, o := range got {
		kinds[o.String()]++
		first, idle = max(first, o.first), max(idle, o.idle)
	}
	var said []string
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		said = append(said, fmt.Sprintf("%d × %s", kinds[kind], kind))
	}
	plain := "-"
	if direct.status != 0 || direct.err != nil {
		plain = direct.String()
	}
	return fmt.Sprintf("| %s | %s | %s | %.1f | %.1f | %.1f | %d | %.2f |", name, plain, strings.Join(said, ", "),
		first.Seconds(), idle.Seconds(), slowest(got).took.Seconds(), gets, copies)
}

// heading is over the lines.
const heading = "| trouble | without darter | clients | first byte or word, s | longest pause, s | last done, s | GETs | copies |"

// A few of the rows with three nodes, of whom one has a disk for half of a content: it
// streams past its store, from the others.
func TestTrouble(t *testing.T) {
	s := newStage(t)
	s.addNodes(2)
	s.addCramped(8 * mib)
	s.warm()
	t.Log(heading)
	for _, name := range []string{"behaves", "404", "hangs in the middle, once", "says too long a length"} {
		t.Run(name, func(t *testing.T) { s.play(t, name, origins[name]) })
	}
}

// All of them with eight.
func TestStressOrigin(t *testing.T) {
	if os.Getenv("DARTER_STRESS") == "" {
		t.Skip("minutes: DARTER_STRESS=1")
	}
	s := newStage(t)
	s.addNodes(8)
	s.warm()
	t.Log(heading)
	for _, name := range slices.Sorted(maps.Keys(origins)) {
		t.Run(name, func(t *testing.T) { s.play(t, name, origins[name]) })
	}
}

// warm lets the scheduler's warm-up pass: a content is there when it is over.
func (s *stage) warm() {
	s.t.Helper()
	digest := s.push(mib, nil)
	for _, o := range s.crowd(digest, 0, append([]*lab.Darterd{s.seed}, s.nodes...)...) {
		if !o.right {
			s.t.Fatalf("warm-up: %v: %d, %v", o, o.status, o.err)
		}
	}
}
