package tracker

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"

	schedulerv1 "github.com/darter-p2p/darter/api/scheduler/v1"
	"github.com/darter-p2p/darter/p2p"
)

var task1 = digest.FromString("task").String()

// log is a handler that writes down what it is told.
type log []string

func (l *log) add(format string, a ...any) { *l = append(*l, fmt.Sprintf(format, a...)) }

func (l *log) Connected(up bool) { l.add("connected %v", up) }
func (l *log) Neighbours(task p2p.TaskID, add []p2p.Host, remove []p2p.HostID) {
	l.add("neighbours %s %v %v", task, add, remove)
}
func (l *log) Pull(p Pull) {
	l.add("pull %s %s %d %q %v", p.Task, p.Origin, p.Size, p.Token, p.Stop)
}
func (l *log) Relief(r Relief) {
	l.add("relief %s %s %d %q %d+%d", r.Task, r.Origin, r.Size, r.Token, r.First, r.Count)
}
func (l *log) TaskGeometry(task p2p.TaskID, size int64)      { l.add("size %s %d", task, size) }
func (l *log) TaskFailed(task p2p.TaskID, e p2p.OriginError) { l.add("failed %s %v", task, e) }

func responses() []*schedulerv1.ConnectResponse {
	return []*schedulerv1.ConnectResponse{
		{Message: &schedulerv1.ConnectResponse_Neighbours{Neighbours: &schedulerv1.Neighbours{
			Task: task1, Add: []*schedulerv1.Peer{{HostId: "a", Address: "1.2.3.4:5", Seed: true}}, Remove: []string{"b"},
		}}},
		{Message: &schedulerv1.ConnectResponse_Pull{Pull: &schedulerv1.Pull{Task: task1, Origin: "https://o", Size: -1, Token: []byte("t")}}},
		{Message: &schedulerv1.ConnectResponse_Relief{Relief: &schedulerv1.Relief{Task: task1, Origin: "https://o", Size: 9, Token: []byte("t"), First: 3, Count: 4}}},
		{Message: &schedulerv1.ConnectResponse_TaskGeometry{TaskGeometry: &schedulerv1.TaskGeometry{Task: task1, Size: 7}}},
		{Message: &schedulerv1.ConnectResponse_TaskFailed{TaskFailed: &schedulerv1.TaskFailed{
			Task: task1, Error: &schedulerv1.OriginError{Status: 429, Message: "slow", RetryAfterSeconds: 1 << 60, Puller: "s"},
		}}},
		{}, // of a newer scheduler
	}
}

func TestDeliver(t *testing.T) {
	var got log
	for _, r := range responses() {
		if err := deliver(r, &got); err != nil {
			t.Error(err)
		}
	}
	want := log{
		"neighbours " + task1 + " [{a 1.2.3.4:5   true}] [b]",
		"pull " + task1 + ` https://o -1 "t" false`,
		"relief " + task1 + ` https://o 9 "t" 3+4`,
		"size " + task1 + " 7",
		"failed " + task1 + " origin answered s with 429: slow",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("delivered %q, want %q", got, want)
	}
	for _, r := range []*schedulerv1.ConnectResponse{
		{Message: &schedulerv1.ConnectResponse_Neighbours{}},
		{Message: &schedulerv1.ConnectResponse_Neighbours{Neighbours: &schedulerv1.Neighbours{Task: task1, Add: []*schedulerv1.Peer{nil}}}},
		{Message: &schedulerv1.ConnectResponse_Neighbours{Neighbours: &schedulerv1.Neighbours{Task: task1, Remove: []string{"/"}}}},
		{Message: &schedulerv1.ConnectResponse_Pull{Pull: &schedulerv1.Pull{Task: task1, Size: -2}}},
		{Message: &schedulerv1.ConnectResponse_TaskGeometry{TaskGeometry: &schedulerv1.TaskGeometry{Task: task1, Size: p2p.MaxSize + 1}}},
		{Message: &schedulerv1.ConnectResponse_TaskFailed{}},
	} {
		if err := deliver(r, &got); err == nil {
			t.Errorf("%v is taken", r)
		}
	}
}

func TestParts(t *testing.T) {
	task, err := p2p.ParseTaskID(task1)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		n      int
		origin string
		want   []int
	}{
		{0, "", []int{0}},
		{1000, "", []int{1000}},
		{1001, "", []int{1000, 1}},
		{300, strings.Repeat("x", 4000), []int{128, 128, 44}},
	} {
		holdings := make([]p2p.Holding, tt.n)
		for i := range holdings {
			holdings[i] = p2p.Holding{Task: task, Origin: p2p.Origin(tt.origin)}
		}
		all := parts(holdings)
		var sizes []int
		for i, m := range all {
			sizes = append(sizes, len(m.GetAnnounce().Holdings))
			if m.GetAnnounce().Last != (i == len(all)-1) {
				t.Errorf("part %d of %d: last is %v", i, len(all), m.GetAnnounce().Last)
			}
			if proto.Size(m) > 2*maxPartBytes {
				t.Errorf("part %d has %d bytes", i, proto.Size(m))
			}
		}
		if !reflect.DeepEqual(sizes, tt.want) {
			t.Errorf("%d holdings with %d bytes of origin: parts of %v, want %v", tt.n, len(tt.origin), sizes, tt.want)
		}
	}
}

func TestOriginsThatNoSchedulerTakesAreNotSaid(t *testing.T) {
	for origin, want := range map[p2p.Origin]string{
		"https://o/x": "https://o/x", "a\nb": "", "a\xff": "", p2p.Origin(strings.Repeat("x", 4097)): "",
	} {
		if got := sayable(origin); got != want {
			t.Errorf("%.20q is said as %.20q", origin, got)
		}
	}
}

func TestBackoff(t *testing.T) {
	b := backoff{min: 100 * time.Millisecond, max: time.Second}
	for round := range 2 {
		for i, ms := range []int{100, 200, 400, 800, 1000, 1000} {
			most := time.Duration(ms) * time.Millisecond
			if d := b.pick(); d < most/2 || d > most {
				t.Errorf("round %d, wait %d is %v, want %v to %v", round, i, d, most/2, most)
			}
		}
		b.reset()
	}
}

func FuzzDeliver(f *testing.F) {
	for _, r := range responses() {
		b, err := proto.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r schedulerv1.ConnectResponse
		if proto.Unmarshal(b, &r) != nil {
			return
		}
		var got log
		if err := deliver(&r, &got); err != nil && len(got) > 0 {
			t.Fatalf("refused with %v, but delivered %q", err, got)
		}
	})
}
