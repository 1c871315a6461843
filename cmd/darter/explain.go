package main

import (
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	darterdv1 "github.com/darter-p2p/darter/api/darterd/v1"
)

func explainCommand() *cobra.Command {
	var q query
	c := &cobra.Command{
		Use:   "explain TASK|DIGEST|IMAGE",
		Short: "Where the bytes of a task or an image came from, and what was refused",
		Example: `  darter explain docker.io/library/nginx:1.29
  darter explain sha256:4bf1...
  darter explain --format json sha256:4bf1... | jq .tasks[].bytes`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			return run(c, q, darterdv1.ExplainPath, url.Values{darterdv1.WhatParam: {args[0]}}, printExplanation)
		},
	}
	q.flags(c)
	return c
}

func printExplanation(w io.Writer, e darterdv1.Explanation) {
	if len(e.Tasks) > 1 || e.Image != "" {
		printLayers(w, e)
	}
	for i, k := range e.Tasks {
		if i > 0 || len(e.Tasks) > 1 || e.Image != "" {
			fmt.Fprintln(w)
		}
		printExplain(w, k)
	}
}

// printLayers shows the tasks of an image in one table, with their sum.
func printLayers(w io.Writer, e darterdv1.Explanation) {
	fmt.Fprintf(w, "%s: %d tasks\n", printable(or(e.Image, e.What)), len(e.Tasks))
	t := newTable("<><>>>", "TASK", "SIZE", "STATE", "FROM PEERS", "FROM SEED", "FROM ORIGIN")
	var sum darterdv1.Explain
	for _, k := range e.Tasks {
		t.row(short(k.Task), size(k.Size), k.State, size(k.Bytes.FromPeers), size(k.Bytes.FromSeed), size(k.Bytes.FromOrigin))
		sum.Size += max(k.Size, 0)
		sum.Bytes.FromPeers += k.Bytes.FromPeers
		sum.Bytes.FromSeed += k.Bytes.FromSeed
		sum.Bytes.FromOrigin += k.Bytes.FromOrigin
	}
	total := sum.Bytes.Total()
	t.row("total", size(sum.Size), "", withShare(sum.Bytes.FromPeers, total), withShare(sum.Bytes.FromSeed, total), withShare(sum.Bytes.FromOrigin, total))
	t.print(w)
}

func printExplain(w io.Writer, e darterdv1.Explain) {
	t := newTable("")
	t.row("task", e.Task)
	t.row("origin", or(e.Origin, "-"))
	state := e.State
	if e.Size < 0 {
		t.row("size", "not known yet")
	} else {
		t.row("size", fmt.Sprintf("%s in %d pieces of %s", size(e.Size), e.Pieces, size(e.PieceLength)))
		state += fmt.Sprintf(", %d of %d pieces held", e.PiecesHeld, e.Pieces)
	}
	if e.Error != "" {
		state += ": " + e.Error
	}
	t.row("state", state)
	if e.Digest != "" {
		t.row("digest", printable(e.Digest)+", as the seed computed it")
	} else {
		t.row("digest", verdict(e.DigestOK))
	}
	t.row("piece map", pieceMap(e))
	t.row("received", sources(e.Bytes))
	t.row("sent", size(e.Uploaded))
	t.row("readers", fmt.Sprint(e.Readers))
	if len(e.Pins) > 0 {
		t.row("pinned", strings.Join(e.Pins, ", "))
	}
	t.row("timing", timing(e.Timing, e.Bytes.Total()))
	t.print(w)
	printNeighbours(w, e.Neighbours)
	printRefused(w, e.Refused)
}

func verdict(ok *bool) string {
	switch {
	case ok == nil:
		return "not checked here yet"
	case *ok:
		return "right"
	}
	return "WRONG: these are not the bytes that the digest names"
}

func pieceMap(e darterdv1.Explain) string {
	state := "provisional"
	if e.Final {
		state = "final"
	}
	if len(e.SignedBy) == 0 {
		return state + ", not signed"
	}
	return state + ", signed by " + strings.Join(e.SignedBy, ", ")
}

func timing(t darterdv1.Timing, bytes int64) string {
	if t.Started.IsZero() {
		return "before darterd last started"
	}
	text := "started " + t.Started.UTC().Format(time.DateTime) + " UTC"
	if !t.FirstByte.IsZero() {
		text += ", first byte after " + span(t.FirstByte.Sub(t.Started))
	}
	if took := t.Completed.Sub(t.Started); !t.Completed.IsZero() {
		text += ", complete after " + span(took)
		if took > 0 {
			text += fmt.Sprintf(" (%s)", rate(float64(bytes)/took.Seconds()))
		}
	}
	return text
}

func printNeighbours(w io.Writer, list []darterdv1.Neighbour) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := newTable("<<<>>>>>", "NEIGHBOUR", "ADDRESS", "", "RECEIVED", "PIECES", "FAILURES", "RATE", "SENT")
	for _, n := range list {
		var notes []string
		if n.Seed {
			notes = append(notes, "seed")
		}
		if !n.Linked {
			notes = append(notes, "gone")
		}
		t.row(n.Host, or(n.Address, "-"), strings.Join(notes, ","), size(n.Bytes), fmt.Sprint(n.Pieces), fmt.Sprint(n.Failures), rate(n.Rate), size(n.Uploaded))
	}
	t.print(w)
}

func printRefused(w io.Writer, list []darterdv1.Refused) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := newTable("<<<", "REFUSED", "UNTIL", "REASON")
	for _, r := range list {
		until := "banned"
		if !r.Banned {
			until = "now"
			if !r.Until.IsZero() {
				until = r.Until.UTC().Format(time.DateTime)
			}
		}
		t.row(r.Host, until, r.Reason)
	}
	t.print(w)
}
