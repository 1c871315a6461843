package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// progress draws a bar on a terminal.
type progress struct {
	out     io.Writer
	from    string
	whole   int64
	first   int64 // bytes that were there before
	started time.Time
	drawn   time.Time
	now     int64
}

const (
	barWidth  = 30
	drawEvery = 100 * time.Millisecond
)

func (p *progress) begin(have, whole int64, from string) {
	*p = progress{out: p.out, from: printable(from), whole: whole, first: have, now: have, started: time.Now()}
}

// at says how many bytes are there.
func (p *progress) at(n int64) {
	p.now = n
	if now := time.Now(); now.Sub(p.drawn) >= drawEvery {
		p.drawn = now
		fmt.Fprint(p.out, "\r\x1b[K"+p.line(now))
	}
}

// end leaves the last state on the terminal.
func (p *progress) end() {
	if !p.started.IsZero() {
		fmt.Fprint(p.out, "\r\x1b[K"+p.line(time.Now())+"\n")
		p.started = time.Time{}
	}
}

// line is the bar as it is at a time.
func (p *progress) line(now time.Time) string {
	took := max(now.Sub(p.started), time.Millisecond)
	speed := float64(p.now-p.first) / took.Seconds()
	if p.whole <= 0 {
		return fmt.Sprintf("%s  %s  from %s", size(p.now), rate(speed), or(p.from, "?"))
	}
	part := min(float64(p.now)/float64(p.whole), 1)
	bar := strings.Repeat("#", int(part*barWidth))
	text := fmt.Sprintf("[%-*s] %3d %%  %s of %s  %s  from %s", barWidth, bar, int(part*100), size(p.now), size(p.whole), rate(speed), or(p.from, "?"))
	if left := p.whole - p.now; left > 0 && speed > 0 && float64(left)/speed < 1e6 {
		text += "  " + span(time.Duration(float64(left)/speed*float64(time.Second))) + " left"
	}
	return text
}

// isTerminal reports whether what is written there is seen by a person.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	fi, err := f.Stat()
	return err == nil && fi.Mode()&os.ModeCharDevice != 0
}
