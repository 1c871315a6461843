package swarm

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/darter-p2p/darter/p2p"
)

var update = flag.Bool("update", false, "write what the scripts give into testdata")

// TestScripts runs testdata/*.txt. Each line is an event; the lines behind it that
// begin with ">" are all that is told because of it, in order. See testdata/README.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(t, string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("%s", firstDifference(string(want), got))
			}
		})
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		if i >= len(w) || i >= len(g) || w[i] != g[i] {
			at := func(s []string) string { return strings.Join(s[min(max(i-2, 0), len(s)):min(i+4, len(s))], "\n") }
			return fmt.Sprintf("line %d: want\n%s\ngot\n%s", i+1, at(w), at(g))
		}
	}
	return ""
}

// runScript returns the script with what was told in the place of what it expects.
func runScript(t *testing.T, script string) string {
	t.Helper()
	cfg := noWarmup()
	cfg.Batch = 0
	s := &scene{tasks: map[p2p.TaskID]string{}}
	var f *follower
	var out strings.Builder
	for i, line := range strings.Split(strings.TrimSuffix(script, "\n"), "\n") {
		if strings.HasPrefix(line, ">") {
			continue
		}
		fmt.Fprintln(&out, line)
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if words[0] == "config" {
			s.configure(t, &cfg, words[1:])
			continue
		}
		if f == nil {
			f = follow(t, cfg, 1)
		}
		for _, effect := range s.run(t, f, i+1, words) {
			fmt.Fprintln(&out, ">", effect)
		}
	}
	return out.String()
}

// scene gives tasks their names.
type scene struct{ tasks map[p2p.TaskID]string }

func (s *scene) task(name string) p2p.TaskID {
	id := taskOf(name)
	s.tasks[id] = name
	return id
}

func (s *scene) configure(t *testing.T, cfg *Config, words []string) {
	t.Helper()
	v := options(words)
	for name, to := range map[string]*int{"k": &cfg.Neighbours, "bridges": &cfg.Bridges, "tries": &cfg.PullTries, "seed-degree": &cfg.SeedDegree} {
		if v[name] != "" {
			*to = number(t, v[name])
		}
	}
	for name, to := range map[string]*time.Duration{"batch": &cfg.Batch, "warmup": &cfg.Warmup, "condemn": &cfg.Condemn} {
		if v[name] != "" {
			*to = duration(t, v[name])
		}
	}
	cfg.RackNeighbours = min(cfg.RackNeighbours, cfg.Neighbours/2)
	cfg.LargeNeighbours = max(cfg.LargeNeighbours, cfg.Neighbours)
}

// run applies one line's event, or lets time pass, and returns what was told.
func (s *scene) run(t *testing.T, f *follower, line int, words []string) []string {
	t.Helper()
	var told []string
	apply := func(ev Event) {
		for _, e := range f.apply(ev) {
			told = append(told, s.show(e))
		}
	}
	if words[0] == "after" {
		for end := f.now.Add(duration(t, words[1])); ; {
			next, ok := f.c.Next()
			if !ok || next.After(end) {
				f.now = end
				apply(Tick{})
				return told
			}
			f.now = next
			apply(Tick{})
		}
	}
	if len(words) < 2 {
		t.Fatalf("line %d: %q", line, words)
	}
	opt := options(words)
	if ev := s.hostEvent(words, opt); ev != nil {
		apply(ev)
		return told
	}
	if ev := s.taskEvent(t, words, opt); ev != nil {
		apply(ev)
		return told
	}
	t.Fatalf("line %d: no event %q", line, words)
	return nil
}

func (s *scene) hostEvent(words []string, opt map[string]string) Event {
	id := p2p.HostID(words[1])
	switch words[0] {
	case "host", "seed":
		addr := opt["addr"]
		if addr == "" {
			addr = words[1]
		}
		return HostUp{p2p.Host{ID: id, Addr: addr, Zone: opt["zone"], Rack: opt["rack"], Seed: words[0] == "seed"}}
	case "down":
		return HostDown{id}
	case "announce": // announce <host> [last] {<task>:<complete|active|pulling|partial>}
		a := Announce{Host: id}
		for _, w := range words[2:] {
			name, as, held := strings.Cut(w, ":")
			if !held {
				a.Last = true
				continue
			}
			a.Holdings = append(a.Holdings, p2p.Holding{
				Task: s.task(name), Size: 100, Origin: "o", Complete: as == "complete",
				Active: as == "active" || as == "pulling", Pulling: as == "pulling",
			})
		}
		return a
	}
	return nil
}

func (s *scene) taskEvent(t *testing.T, words []string, opt map[string]string) Event {
	t.Helper()
	if len(words) < 3 {
		return nil
	}
	task, id := s.task(words[2]), p2p.HostID(words[1])
	size := int64(-1)
	if opt["size"] != "" {
		size = int64(number(t, opt["size"]))
	}
	switch words[0] {
	case "join":
		return Join{task, id, p2p.Origin(opt["from"]), size}
	case "leave":
		return Leave{task, id}
	case "done":
		return Done{task, id}
	case "lost":
		ev := NeighbourLost{Task: task, Host: id}
		for _, w := range words[3:] {
			ev.Lost = append(ev.Lost, p2p.HostID(w))
		}
		return ev
	case "started":
		return PullStarted{task, id, size}
	case "pulled":
		return PullDone{task, id}
	case "failed":
		e := p2p.OriginError{Status: number(t, opt["status"]), Message: "no", Keyless: opt["keyless"] != ""}
		if opt["retry"] != "" {
			e.RetryAfter = duration(t, opt["retry"])
		}
		return PullFailed{task, id, e}
	case "starved":
		return Starved{task, id, p2p.Piece(number(t, opt["first"])), opt["urgent"] != "", opt["slow"] != ""}
	case "relieved":
		return Relieved{task, id, number(t, opt["pieces"]), opt["alone"] != ""}
	case "bad":
		return BadPeer{Task: task, Host: p2p.HostID(words[3]), Reporter: id}
	}
	return nil
}

// show writes an effect: "<host>: <what>".
func (s *scene) show(e Effect) string {
	text := func(task p2p.TaskID, words ...string) string {
		return strings.Join(append([]string{string(e.To) + ":", s.tasks[task]}, words...), " ")
	}
	switch m := e.Message.(type) {
	case Neighbours:
		var words []string
		for _, id := range m.Remove {
			words = append(words, "-"+string(id))
		}
		for _, h := range m.Add {
			w := "+" + string(h.ID)
			if h.Seed {
				w += "(seed)"
			}
			if h.Addr != string(h.ID) {
				w += "@" + h.Addr
			}
			words = append(words, w)
		}
		slices.Sort(words)
		return text(m.Task, words...)
	case Pull:
		if m.Stop {
			return text(m.Task, "stop")
		}
		words := []string{"pull", string(m.Origin), "size=" + strconv.FormatInt(m.Size, 10)}
		if m.Token {
			words = append(words, "token")
		}
		if s := m.Stripe; s != (p2p.Stripe{}) {
			words = append(words, fmt.Sprintf("stripe=%0*b", s.Of, s.Mine))
			if s.Helper {
				words = append(words, "helper")
			}
		}
		return text(m.Task, words...)
	case Relief:
		words := []string{"relief", string(m.Origin), fmt.Sprintf("%d+%d", m.First, m.Count)}
		if m.Beside {
			words = append(words, "beside")
		}
		if m.Token {
			words = append(words, "token")
		}
		return text(m.Task, words...)
	case TaskGeometry:
		return text(m.Task, "size="+strconv.FormatInt(m.Size, 10))
	case TaskFailed:
		words := []string{"failed", strconv.Itoa(m.Error.Status)}
		if m.Error.RetryAfter > 0 {
			words = append(words, "retry="+m.Error.RetryAfter.String())
		}
		if m.Error.Puller != "" {
			words = append(words, "by="+string(m.Error.Puller))
		}
		return text(m.Task, words...)
	}
	return "?"
}

func options(words []string) map[string]string {
	m := map[string]string{}
	for _, w := range words {
		if name, v, ok := strings.Cut(w, "="); ok {
			m[name] = v
		}
	}
	return m
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func duration(t *testing.T, s string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
