package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// registryColumn is the sender's name for bytes that a host read from the registry itself.
const registryColumn = "registry"

// row is what one host received so far, from whom.
type row struct {
	host  string
	from  map[string]int64 // bytes by sender
	state string           // "pulling", "12.3 s", …
}

func (r row) total() int64 {
	var sum int64
	for _, n := range r.from {
		sum += n
	}
	return sum
}

// formatTable returns who got what from whom: a line for each receiver, a column
// for each sender, in MiB.
func formatTable(senders []string, rows []row, imageBytes int64) []string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "MiB from →\t%s\ttogether\tof the image\t\t\n", strings.Join(senders, "\t"))
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t", r.host)
		for _, sender := range senders {
			fmt.Fprintf(w, "%s\t", mebibytes(r.from[sender]))
		}
		fmt.Fprintf(w, "%s\t%.0f %%\t%s\t\n", mebibytes(r.total()), 100*float64(r.total())/float64(imageBytes), r.state)
	}
	_ = w.Flush() // a strings.Builder takes everything
	return strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
}

func mebibytes(n int64) string {
	if n == 0 {
		return "·"
	}
	return fmt.Sprintf("%.1f", float64(n)/(1<<20))
}

// screen shows a table again and again: in place on a terminal, as plain lines elsewhere.
type screen struct {
	out      io.Writer
	terminal bool
	drawn    int // lines of the last table, on a terminal
}

// show draws the table of a moment of the pull.
func (s *screen) show(elapsed time.Duration, senders []string, rows []row, imageBytes int64) {
	if !s.terminal {
		fmt.Fprintf(s.out, "%5.1f s", elapsed.Seconds())
		for _, r := range rows {
			fmt.Fprintf(s.out, "  %s:", r.host)
			for _, sender := range senders {
				if n := r.from[sender]; n > 0 {
					fmt.Fprintf(s.out, " %s %s", sender, mebibytes(n))
				}
			}
			fmt.Fprintf(s.out, " = %.0f %%", 100*float64(r.total())/float64(imageBytes))
		}
		fmt.Fprintln(s.out)
		return
	}
	if s.drawn > 0 {
		fmt.Fprintf(s.out, "\x1b[%dA", s.drawn)
	}
	lines := append(formatTable(senders, rows, imageBytes), fmt.Sprintf("%.0f s", elapsed.Seconds()))
	for _, line := range lines {
		fmt.Fprintf(s.out, "\x1b[2K%s\n", line)
	}
	s.drawn = len(lines)
}
