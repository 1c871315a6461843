package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	darterdv1 "github.com/darter-p2p/darter/api/darterd/v1"
)

func statusCommand() *cobra.Command {
	var q query
	c := &cobra.Command{
		Use:   "status",
		Short: "What this node is doing: scheduler, links, tasks, store, bytes",
		Args:  usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return run(c, q, darterdv1.StatusPath, nil, func(w io.Writer, s darterdv1.Status) { printStatus(w, s, time.Now()) })
		},
	}
	q.flags(c)
	return c
}

func printStatus(w io.Writer, s darterdv1.Status, now time.Time) {
	state := "ready"
	if !s.Ready {
		state = "not ready: " + or(s.Reason, "starting")
	}
	t := newTable("")
	t.row("host", s.Host+" ("+s.Role+" of cluster "+s.Cluster+")")
	t.row("state", state)
	t.row("version", s.Version)
	t.row("up", age(s.Started, now))
	t.row("address", or(s.Address, "-"))
	if s.Zone != "" || s.Rack != "" {
		t.row("place", "zone "+or(s.Zone, "-")+", rack "+or(s.Rack, "-"))
	}
	if !s.CertificateExpires.IsZero() {
		t.row("certificate", expiry(s.CertificateExpires, now))
	}
	if s.Manager != nil {
		t.row("manager", managerLine(*s.Manager, now))
		t.row("settings", settingsLine(*s.Manager))
		t.row("cluster", or(s.Manager.Cluster, "none")+because(s.Manager.Because))
	}
	if len(s.Schedulers) == 0 {
		t.row("scheduler", "none: every download goes to the origin")
	}
	for _, c := range s.Schedulers {
		t.row("scheduler", scheduler(c, now))
	}
	t.row("links", fmt.Sprint(s.Links))
	t.row("tasks", fmt.Sprintf("%d held, %d complete, %d active", s.Tasks.Held, s.Tasks.Complete, s.Tasks.Active))
	t.row("store", storeUse(s.Store))
	t.row("disk", fmt.Sprintf("%s free, %s of it left to others", size(s.Store.DiskFree), size(s.Store.Floor)))
	t.row("received", sources(s.Bytes))
	t.row("sent", size(s.Uploaded))
	t.print(w)
}

func managerLine(m darterdv1.Manager, now time.Time) string {
	text := m.Address + ", connected"
	if !m.Connected {
		text = m.Address + ", away"
	}
	if !m.Since.IsZero() {
		text += " for " + age(m.Since, now)
	}
	if m.Error != "" {
		text += " (" + m.Error + ")"
	}
	return text
}

func settingsLine(m darterdv1.Manager) string {
	text := "none: the node's file holds"
	if m.Version != 0 {
		text = fmt.Sprintf("version %d in force", m.Version)
	}
	if m.Restored {
		text += ", as kept on disk"
	}
	if m.Refused != "" {
		text += "; the newest cannot be: " + m.Refused
	}
	return text
}

func because(reasons []string) string {
	if len(reasons) == 0 {
		return ""
	}
	return ": " + strings.Join(reasons, ", ")
}

func scheduler(c darterdv1.Scheduler, now time.Time) string {
	text := c.Address
	if c.Name != "" {
		text = c.Name + " at " + c.Address
	}
	text += ", " + c.State
	if !c.Since.IsZero() {
		text += " for " + age(c.Since, now)
	}
	if c.Error != "" {
		text += " (" + c.Error + ")"
	}
	return text
}

func storeUse(s darterdv1.Store) string {
	if s.Quota == 0 {
		return fmt.Sprintf("%s in %s, no quota", size(s.Reserved), s.Dir)
	}
	return fmt.Sprintf("%s of %s (%s) in %s", size(s.Reserved), size(s.Quota), share(s.Reserved, s.Quota), s.Dir)
}

func expiry(at, now time.Time) string {
	if left := at.Sub(now); left > 0 {
		return "ends in " + span(left)
	}
	return "ended " + age(at, now) + " ago: issue a new one with \"darter ca issue\""
}

func tasksCommand() *cobra.Command {
	var q query
	c := &cobra.Command{
		Use:   "tasks",
		Short: "What this node holds, the last used first",
		Args:  usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return run(c, q, darterdv1.TasksPath, nil, func(w io.Writer, l darterdv1.Tasks) { printTasks(w, l, time.Now()) })
		},
	}
	q.flags(c)
	return c
}

func printTasks(w io.Writer, l darterdv1.Tasks, now time.Time) {
	if len(l.Tasks) == 0 {
		fmt.Fprintln(w, "no tasks")
		return
	}
	t := newTable("<>><>>><<", "TASK", "SIZE", "HELD", "STATE", "PEERS", "SEED", "ORIGIN", "USED", "FROM")
	for _, k := range l.Tasks {
		t.row(short(k.Task), size(k.Size), share(k.Held, k.Size), k.State,
			share(k.Bytes.FromPeers, k.Bytes.Total()), share(k.Bytes.FromSeed, k.Bytes.Total()), share(k.Bytes.FromOrigin, k.Bytes.Total()),
			age(k.Used, now), or(k.Origin, "-"))
	}
	t.print(w)
}
