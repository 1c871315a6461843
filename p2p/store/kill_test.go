package store_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/store"
	"github.com/darter-p2p/darter/p2p/store/storetest"
)

const childVariable = "DARTER_STORE_KILL_ROOT"

// rootOfChild is set where the test binary was started to be killed.
func rootOfChild() string { return os.Getenv(childVariable) }

// killSizes are the sizes of the tasks that the child writes.
var killSizes = []int64{3000, 1 << 20, 3<<20 + 5, 8 << 20}

func killContents() (cs []*storetest.Content) {
	for i, size := range killSizes {
		cs = append(cs, storetest.NewContent(uint64(i), size))
	}
	return cs
}

// writeUntilKilled writes all tasks at once, tells of every piece that was
// committed, completes them, deletes them and begins again.
func writeUntilKilled(root string) {
	cfg := config(nil, root)
	cfg.SyncBytes = 1 << 20
	cfg.SyncInterval = 5e6
	d, err := store.Open(context.Background(), cfg)
	if err != nil {
		panic(err)
	}
	out := bufio.NewWriter(os.Stdout)
	var mu sync.Mutex
	tell := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(out, format+"\n", args...)
		if err := out.Flush(); err != nil {
			panic(err)
		}
	}
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	var group sync.WaitGroup
	for i, c := range killContents() {
		group.Go(func() {
			for {
				task, err := d.Create(c.ID, c.Geometry)
				check(err)
				for p := range c.Pieces() {
					if !task.Has(p) {
						check(c.Write(task, p))
					}
					tell("piece %d %d", i, p)
				}
				check(task.Complete())
				tell("complete %d 0", i)
				task.Release()
				tell("delete %d 0", i)
				check(d.Delete(c.ID))
			}
		})
	}
	group.Wait()
}

// A process that is killed while it writes loses no committed piece, since the
// kernel has it, and serves no wrong one.
func TestKill(t *testing.T) {
	rounds := 50
	if testing.Short() {
		rounds = 5
	}
	root := filepath.Join(t.TempDir(), "pieces")
	contents := killContents()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for round := range rounds {
		held := runAndKill(t, root, 1+r.IntN(60))
		d := open(t, config(nil, root))
		for i, c := range contents {
			checkKilled(t, d, c, held[i])
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
}

// told is what the child said of one task.
type told struct {
	pieces   map[p2p.Piece]bool
	complete bool
}

// runAndKill starts the child, kills it when it has said so many lines, and
// returns what it said of each task, to the last line that it wrote.
func runAndKill(t *testing.T, root string, lines int) map[int]told {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childVariable+"="+root)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	held := map[int]told{}
	scanner := bufio.NewScanner(out)
	for n := 0; scanner.Scan(); {
		if n++; n == lines {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		var what string
		var i int
		var p p2p.Piece
		if _, err := fmt.Sscan(scanner.Text(), &what, &i, &p); err != nil {
			t.Fatalf("child said %q", scanner.Text())
		}
		switch what {
		case "piece":
			if held[i].pieces == nil {
				held[i] = told{pieces: map[p2p.Piece]bool{}}
			}
			held[i].pieces[p] = true
		case "complete":
			held[i] = told{held[i].pieces, true}
		case "delete":
			held[i] = told{}
		}
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.Success() {
		t.Fatalf("the child ended by itself: %v", err)
	}
	return held
}

func checkKilled(t *testing.T, d *store.Disk, c *storetest.Content, want told) {
	t.Helper()
	task, err := d.Open(c.ID)
	if err != nil {
		if len(want.pieces) > 0 {
			t.Errorf("task of %d bytes with %d pieces is lost: %v", c.Geometry.Size, len(want.pieces), err)
		}
		return
	}
	defer task.Release()
	if err := c.Check(task); err != nil {
		t.Errorf("task of %d bytes: %v", c.Geometry.Size, err)
	}
	for p := range want.pieces {
		if !task.Has(p) {
			t.Errorf("task of %d bytes: piece %d was committed and is lost", c.Geometry.Size, p)
		}
	}
	if want.complete && !task.Completed() {
		t.Errorf("task of %d bytes was completed and is not", c.Geometry.Size)
	}
}
