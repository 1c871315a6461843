package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	darterdv1 "github.com/darter-p2p/darter/api/darterd/v1"
)

// table aligns columns with two blanks between them. Its cells are printable text:
// what darterd took from other hosts cannot drive the terminal.
type table struct {
	align string // of each column: '<' or '>'; what it does not name is '<'
	rows  [][]string
}

func newTable(align string, header ...string) *table {
	t := &table{align: align}
	if len(header) > 0 {
		t.row(header...)
	}
	return t
}

func (t *table) row(cells ...string) {
	for i := range cells {
		cells[i] = printable(cells[i])
	}
	t.rows = append(t.rows, cells)
}

// printable replaces what could drive a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

func (t *table) print(w io.Writer) {
	var widths []int
	for _, r := range t.rows {
		for i, c := range r {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	for _, r := range t.rows {
		var b strings.Builder
		for i, c := range r {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c))
			if i > 0 {
				b.WriteString("  ")
			}
			if i < len(t.align) && t.align[i] == '>' {
				b.WriteString(pad + c)
			} else {
				b.WriteString(c + pad)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

func or(s, instead string) string {
	if s == "" {
		return instead
	}
	return s
}

// size prints bytes with three digits; unknown sizes (negative) as "?".
func size(n int64) string {
	if n < 0 {
		return "?"
	}
	return scaled(float64(n), 1024, []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"})
}

// rate prints bytes per second as bits, as links are named.
func rate(bytesPerSecond float64) string {
	if bytesPerSecond <= 0 {
		return "-"
	}
	return scaled(bytesPerSecond*8, 1000, []string{"bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"})
}

func scaled(v, step float64, units []string) string {
	i := 0
	for v >= step-0.5 && i < len(units)-1 {
		v /= step
		i++
	}
	if i == 0 || v >= 99.95 {
		return fmt.Sprintf("%.0f %s", v, units[i])
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}

// share prints a part of a whole, "-" of nothing.
func share(part, whole int64) string {
	if whole <= 0 {
		return "-"
	}
	p := 100 * float64(part) / float64(whole)
	switch {
	case part > 0 && p < 0.1:
		return "<0.1%"
	case part < whole && p > 99.9:
		return ">99.9%"
	case p == 0 || p >= 100:
		return fmt.Sprintf("%.0f%%", p)
	}
	return fmt.Sprintf("%.1f%%", p)
}

func withShare(part, whole int64) string { return size(part) + " " + share(part, whole) }

func sources(s darterdv1.Sources) string {
	total := s.Total()
	if total == 0 {
		return "nothing"
	}
	return fmt.Sprintf("%s: peers %s (%s), seeds %s (%s), origin %s (%s)", size(total),
		size(s.FromPeers), share(s.FromPeers, total), size(s.FromSeed), share(s.FromSeed, total), size(s.FromOrigin), share(s.FromOrigin, total))
}

// short cuts a task to its kind and 12 digits.
func short(task string) string {
	if i := strings.IndexByte(task, ':'); i >= 0 && len(task) > i+13 {
		return task[:i+13]
	}
	return task
}

// age prints how long ago a time was, "-" for none.
func age(at, now time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return span(now.Sub(at))
}

// span prints a length of time in its two largest units.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	case d < day:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
}
