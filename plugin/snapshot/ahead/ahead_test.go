package ahead

import (
	"errors"
	"fmt"
	"math/rand"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// The scenarios of testdata/pulls.txt: commands, and after "=>" what came of them.
//
//	enter PULL LAYER [BELOW]   containerd asks
//	plan PULL LAYER…           the manifest is known
//	ask PULL LAYER             => wait, ready, failed or missing
//	done|fail LAYER            a job has ended
//	placed LAYER, served|left PULL LAYER, wait SECONDS, expire
//
// A layer's index is its number: a0, a1, …; effects are start, stop, drop and forget.
func TestPulls(t *testing.T) {
	text, err := os.ReadFile("testdata/pulls.txt")
	if err != nil {
		t.Fatal(err)
	}
	for story := range strings.SplitSeq(string(text), "\n# ") {
		title, script, _ := strings.Cut(story, "\n")
		t.Run(strings.TrimPrefix(title, "# "), func(t *testing.T) {
			q, now := New(2, time.Minute), time.Unix(0, 0)
			for line := range strings.SplitSeq(script, "\n") {
				command, want, _ := strings.Cut(line, "=>")
				words := strings.Fields(command)
				if len(words) == 0 {
					continue
				}
				if got := step(q, &now, words); got != strings.TrimSpace(want) {
					t.Fatalf("%s => %s, want %s", command, got, want)
				}
			}
		})
	}
}

func index(layer string) int {
	i, err := strconv.Atoi(strings.TrimLeft(layer, "abcdefghijklmnopqrstuvwxyz"))
	if err != nil {
		panic(err)
	}
	return i
}

func step(q *Queue, now *time.Time, words []string) string {
	said := ""
	arg := func(i int) digest.Digest {
		if i < len(words) {
			return digest.Digest(words[i])
		}
		return ""
	}
	switch p := Pull(arg(1)); words[0] {
	case "enter":
		if q.Enter(p, arg(2), arg(3), *now) {
			said = "fallen"
		}
	case "plan":
		var layers []Layer
		for _, l := range words[2:] {
			layers = append(layers, Layer{digest.Digest(l), index(l)})
		}
		q.Plan(p, layers)
	case "ask":
		answer, _ := q.Ask(p, arg(2))
		said = []string{"wait", "ready", "failed", "missing"}[answer]
	case "done":
		q.Done(arg(1), nil)
	case "fail":
		q.Done(arg(1), errors.New("no"))
	case "placed":
		q.Placed(arg(1))
	case "served", "left":
		q.Leave(p, arg(2), words[0] == "served", *now)
	case "wait":
		*now = now.Add(time.Duration(index(words[1])) * time.Second)
	case "expire":
		q.Expire(*now)
	default:
		panic(words[0])
	}
	return strings.TrimSpace(said + shown(q.Effects()))
}

func shown(e Effects) string {
	var b strings.Builder
	for _, c := range e.Stop {
		fmt.Fprintf(&b, " stop %s", c)
	}
	for _, c := range e.Drop {
		fmt.Fprintf(&b, " drop %s", c)
	}
	for _, p := range e.Forget {
		fmt.Fprintf(&b, " forget %s", p)
	}
	for _, j := range e.Start {
		fmt.Fprintf(&b, " start %s/%s", j.Pull, j.Chain)
	}
	return b.String()
}

// Random pulls: whatever comes, no more runs than is allowed, every job has one end,
// nothing is lost, and when all have gone nothing is left.
func TestRandomPulls(t *testing.T) {
	for seed := range int64(300) {
		r := rand.New(rand.NewSource(seed)) //nolint:gosec // a seed that repeats
		w := &world{t: t, q: New(3, time.Minute), r: r, running: map[digest.Digest]bool{}, held: map[digest.Digest]bool{}}
		for range 400 {
			w.step()
		}
		w.end()
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// client is one pull as containerd makes it: layer after layer.
type client struct {
	pull    Pull
	layers  []Layer
	at      int
	entered bool
	fallen  bool
}

type world struct {
	t       *testing.T
	q       *Queue
	r       *rand.Rand
	now     time.Time
	running map[digest.Digest]bool
	held    map[digest.Digest]bool // finished and not taken
	clients []*client
}

func (w *world) apply() {
	e := w.q.Effects()
	for _, c := range e.Stop {
		if !w.running[c] {
			w.t.Errorf("stop of %s, which does not run", c)
		}
	}
	for _, c := range e.Drop {
		if !w.held[c] {
			w.t.Errorf("drop of %s, which is not held", c)
		}
		delete(w.held, c)
	}
	for _, j := range e.Start {
		if w.running[j.Chain] || w.held[j.Chain] {
			w.t.Errorf("start of %s, which runs or is held", j.Chain)
		}
		waited := slices.ContainsFunc(w.clients, func(c *client) bool { return c.entered && c.layers[c.at].Chain == j.Chain })
		if len(w.running) >= 3 && !waited {
			w.t.Errorf("start of %s, for which nobody waits, while %d run", j.Chain, len(w.running))
		}
		w.running[j.Chain] = true
	}
}

func (w *world) step() {
	w.now = w.now.Add(time.Duration(w.r.Intn(3)) * time.Second)
	switch k := w.r.Intn(10); {
	case k == 0 && len(w.clients) < 6:
		image := string(rune('a' + w.r.Intn(3)))
		c := &client{pull: Pull(fmt.Sprint(image, w.r.Intn(2)))}
		for i := range 5 {
			name := image
			if i < 2 {
				name = "shared"
			}
			c.layers = append(c.layers, Layer{digest.Digest(fmt.Sprint(name, i)), i})
		}
		w.clients = append(w.clients, c)
	case k < 4 && len(w.running) > 0:
		all := []string{}
		for c := range w.running {
			all = append(all, string(c))
		}
		slices.Sort(all)
		w.finish(digest.Digest(all[w.r.Intn(len(all))]), w.r.Intn(4) > 0)
	case k == 4:
		w.q.Expire(w.now)
	case len(w.clients) > 0:
		w.advance(w.r.Intn(len(w.clients)))
	}
	w.apply()
}

func (w *world) finish(c digest.Digest, well bool) {
	delete(w.running, c)
	if well {
		w.held[c] = true
		w.q.Done(c, nil)
	} else {
		w.q.Done(c, errors.New("no"))
	}
}

func (w *world) advance(i int) {
	c := w.clients[i]
	chain := c.layers[c.at].Chain
	if !c.entered {
		var below digest.Digest
		if c.at > 0 {
			below = c.layers[c.at-1].Chain
		}
		c.entered, c.fallen = true, w.q.Enter(c.pull, chain, below, w.now)
		if !c.fallen {
			w.q.Plan(c.pull, c.layers[c.at:])
		}
		return
	}
	switch answer, _ := w.q.Ask(c.pull, chain); {
	case answer == Ready:
		if !w.held[chain] {
			w.t.Errorf("%s is ready and not held", chain)
		}
		delete(w.held, chain)
		w.q.Placed(chain)
		w.leave(i, true)
	case answer == Failed || c.fallen || w.r.Intn(8) == 0:
		w.leave(i, false)
	case answer == Missing:
		w.q.Plan(c.pull, c.layers[c.at:])
	}
}

func (w *world) leave(i int, served bool) {
	c := w.clients[i]
	w.q.Leave(c.pull, c.layers[c.at].Chain, served, w.now)
	c.entered = false
	if c.at++; c.at == len(c.layers) || w.r.Intn(10) == 0 { // done, or cancelled
		w.clients = slices.Delete(w.clients, i, i+1)
	}
}

// end lets everybody go, and time pass.
func (w *world) end() {
	for i := len(w.clients) - 1; i >= 0; i-- {
		if c := w.clients[i]; c.entered {
			w.q.Leave(c.pull, c.layers[c.at].Chain, false, w.now)
		}
	}
	w.clients = nil
	w.apply()
	w.q.Expire(w.now.Add(time.Hour))
	w.apply()
	for len(w.running) > 0 {
		for c := range w.running {
			w.finish(c, true)
			break
		}
		w.apply()
	}
	if len(w.held)+len(w.q.layers)+len(w.q.pulls)+len(w.q.asked) > 0 {
		w.t.Errorf("left: %v held, %d layers, %d pulls, %d asked for", w.held, len(w.q.layers), len(w.q.pulls), len(w.q.asked))
	}
}
