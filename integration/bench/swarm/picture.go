package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Sizes of the picture in pixels.
const (
	pictureWidth  = 860
	panelHeight   = 240
	panelGap      = 70
	marginLeft    = 60
	marginRight   = 110
	marginTop     = 60
	pictureHeight = marginTop + 2*panelHeight + panelGap + 50
)

// panel is one diagram: time to the right, 0 to 1 upwards.
type panel struct {
	top     float64
	seconds float64 // at the right edge
}

func (p panel) x(seconds float64) float64 {
	return marginLeft + seconds/p.seconds*(pictureWidth-marginLeft-marginRight)
}

func (p panel) y(share float64) float64 { return p.top + panelHeight*(1-min(max(share, 0), 1)) }

// drawRun draws a run as SVG: above, how much of the layers every node's client has;
// below, how much of its link every host sends.
func drawRun(p plan, r runReport) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %d" font-family="sans-serif" font-size="12">`+"\n", pictureWidth, pictureHeight)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", pictureWidth, pictureHeight)
	title := fmt.Sprintf("%d nodes, %s, %d MiB in %d layers: %.2f s, bound %.2f s, ratio %.3f", p.Nodes, p.Rate, p.Size>>20, p.Layers, r.Makespan, r.Bound, r.Ratio)
	if r.CPULimited {
		title += " (CPU-limited)"
	}
	text(&b, marginLeft, 24, "start", title)
	end := math.Max(r.Makespan, r.Bound)
	if n := len(r.Timeline.Seconds); n > 0 {
		end = math.Max(end, r.Timeline.Seconds[n-1])
	}
	end = math.Max(end, 0.001) // a run of nothing is drawn, too

	above := panel{top: marginTop, seconds: end}
	above.frame(&b, "share of the layers at each node's client")
	hosts := names(r.Timeline.Sent)
	for _, name := range names(r.Timeline.Done) {
		above.curve(&b, slices.Index(hosts, name), r.Timeline.Seconds, shares(r.Timeline.Done[name], float64(p.Size)))
	}
	fmt.Fprintf(&b, `<line x1="%.1f" x2="%[1]f" y1="%.1f" y2="%.1f" stroke="#000" stroke-dasharray="4 3"/>`+"\n", above.x(r.Bound), above.y(0), above.y(1))
	text(&b, above.x(r.Bound), above.top-4, "end", "bound")

	below := panel{top: marginTop + panelHeight + panelGap, seconds: end}
	below.frame(&b, "share of its link that each host sends")
	for i, name := range hosts {
		rate := rates(r.Timeline.Seconds, r.Timeline.Sent[name], float64(p.Rate)/8)
		below.curve(&b, i, r.Timeline.Seconds, rate)
		y := below.top + 12 + float64(i)*14
		fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%.1f" y2="%[3]f" stroke="%s" stroke-width="2"/>`+"\n", pictureWidth-marginRight+10, pictureWidth-marginRight+30, y-4, colour(i))
		text(&b, pictureWidth-marginRight+36, y, "start", name)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// frame draws the axes and what they mean.
func (p panel) frame(b *bytes.Buffer, title string) {
	text(b, marginLeft, p.top-20, "start", title)
	for _, share := range []float64{0, 0.5, 1} {
		fmt.Fprintf(b, `<line x1="%d" x2="%d" y1="%.1f" y2="%[3]f" stroke="#ddd"/>`+"\n", marginLeft, pictureWidth-marginRight, p.y(share))
		text(b, marginLeft-6, p.y(share)+4, "end", fmt.Sprintf("%.0f %%", share*100))
	}
	for second := 0.0; second <= p.seconds; second += niceStep(p.seconds) {
		text(b, p.x(second), p.y(0)+16, "middle", fmt.Sprintf("%g s", math.Round(second*1000)/1000))
	}
}

// niceStep is a round number of which about 8 make the whole.
func niceStep(whole float64) float64 {
	step := math.Pow(10, math.Floor(math.Log10(whole/8)))
	for _, times := range []float64{1, 2, 5} {
		if whole/(step*times) <= 10 {
			return step * times
		}
	}
	return step * 10
}

// curve draws the i-th line.
func (p panel) curve(b *bytes.Buffer, i int, seconds, values []float64) {
	var points []string
	for j := range min(len(seconds), len(values)) {
		points = append(points, fmt.Sprintf("%.1f,%.1f", p.x(seconds[j]), p.y(values[j])))
	}
	fmt.Fprintf(b, `<polyline fill="none" stroke="%s" stroke-width="1.5" points="%s"/>`+"\n", colour(i), strings.Join(points, " "))
}

// colour is that of the i-th line: neighbours differ much.
func colour(i int) string { return fmt.Sprintf("hsl(%d,70%%,42%%)", i*137%360) }

func text(b *bytes.Buffer, x, y float64, anchor, s string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s">`, x, y, anchor)
	_ = xml.EscapeText(b, []byte(s)) // a buffer takes everything
	b.WriteString("</text>\n")
}

// names are the keys in the order of people: node2 before node10.
func names(series map[string][]int64) []string {
	var all []string
	for name := range series {
		all = append(all, name)
	}
	slices.SortFunc(all, func(a, b string) int {
		if len(a) != len(b) && strings.TrimRight(a, "0123456789") == strings.TrimRight(b, "0123456789") {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	return all
}

// shares are values as parts of a whole.
func shares(values []int64, whole float64) []float64 {
	all := make([]float64, len(values))
	for i, v := range values {
		all[i] = float64(v) / whole
	}
	return all
}

// rateWindow is over how many samples a rate is taken: a second, so that bursts of
// the shaper do not show.
const rateWindow = 4

// rates are how fast a counter grew before each sample, as parts of the full rate in
// its units per second.
func rates(seconds []float64, counter []int64, full float64) []float64 {
	all := make([]float64, len(counter))
	for i := range counter {
		from := max(0, i-rateWindow)
		if took := seconds[i] - seconds[from]; took > 0 {
			all[i] = float64(counter[i]-counter[from]) / took / full
		}
	}
	return all
}
