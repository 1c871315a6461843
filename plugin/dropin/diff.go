package dropin

import (
	"bytes"
	"fmt"
	"strings"
)

const (
	diffContext = 3       // unchanged lines around a change
	maxDiffWork = 4 << 20 // pairs of lines compared; above, all lines count as changed
)

// diff returns the unified diff from before to after; nil stands for no file.
func diff(path string, before, after []byte) string {
	if bytes.Equal(before, after) && (before == nil) == (after == nil) {
		return ""
	}
	var b strings.Builder
	name := func(prefix string, text []byte) string {
		if text == nil {
			return "/dev/null"
		}
		return prefix + path
	}
	fmt.Fprintf(&b, "--- %s\n+++ %s\n", name("a", before), name("b", after))
	edits := edit(lines(before), lines(after))
	for from := 0; from < len(edits); {
		if edits[from].mark == ' ' {
			from++
			continue
		}
		// A hunk goes on while the next change is near.
		start, end, quiet := max(0, from-diffContext), from, 0
		for i := from; i < len(edits) && quiet <= 2*diffContext; i++ {
			if quiet++; edits[i].mark != ' ' {
				end, quiet = i+1, 0
			}
		}
		stop := min(len(edits), end+diffContext)
		hunk(&b, edits, start, stop)
		from = stop
	}
	return b.String()
}

type edited struct {
	mark byte // ' ', '-' or '+'
	line string
}

func hunk(b *strings.Builder, edits []edited, start, stop int) {
	count := func(edits []edited, not byte) (n int) {
		for _, e := range edits {
			if e.mark != not {
				n++
			}
		}
		return n
	}
	place := func(not byte) string {
		before, n := count(edits[:start], not), count(edits[start:stop], not)
		if n > 0 {
			before++
		}
		return fmt.Sprintf("%d,%d", before, n)
	}
	fmt.Fprintf(b, "@@ -%s +%s @@\n", place('+'), place('-'))
	for _, e := range edits[start:stop] {
		b.WriteByte(e.mark)
		b.WriteString(e.line)
		if !strings.HasSuffix(e.line, "\n") {
			b.WriteString("\n\\ No newline at end of file\n")
		}
	}
}

// lines splits a text behind its line ends.
func lines(text []byte) []string {
	if len(text) == 0 {
		return nil
	}
	all := strings.SplitAfter(string(text), "\n")
	if all[len(all)-1] == "" {
		all = all[:len(all)-1]
	}
	return all
}

// edit returns a shortest way from a to b by a table of longest common subsequences.
func edit(a, b []string) []edited {
	var out []edited
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		out, a, b = append(out, edited{' ', a[0]}), a[1:], b[1:]
	}
	var tail []edited
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		tail, a, b = append(tail, edited{' ', a[len(a)-1]}), a[:len(a)-1], b[:len(b)-1]
	}
	common := make([][]int, len(a)+1)
	if len(a)*len(b) <= maxDiffWork {
		for i := range common {
			common[i] = make([]int, len(b)+1)
		}
		for i := len(a) - 1; i >= 0; i-- {
			for j := len(b) - 1; j >= 0; j-- {
				if common[i][j] = max(common[i+1][j], common[i][j+1]); a[i] == b[j] {
					common[i][j] = common[i+1][j+1] + 1
				}
			}
		}
	}
	for i, j := 0, 0; i < len(a) || j < len(b); {
		switch {
		case i < len(a) && j < len(b) && common[0] != nil && a[i] == b[j]:
			out = append(out, edited{' ', a[i]})
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && (common[0] == nil || common[i+1][j] >= common[i][j+1]):
			out = append(out, edited{'-', a[i]})
			i++
		default:
			out = append(out, edited{'+', b[j]})
			j++
		}
	}
	for i := len(tail) - 1; i >= 0; i-- {
		out = append(out, tail[i])
	}
	return out
}
