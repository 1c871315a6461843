package dropin

import "strings"

// Drain returns the commands that take away what a namespace has in darter, one a
// line, for a shell that stops at the first error. They are those of the client that
// made it, for others leave its records behind.
func (u Use) Drain(socket string) []string {
	ctr := "ctr -a " + shell(socket) + " -n " + shell(u.Namespace)
	var lines []string
	switch u.Namespace {
	case criNamespace:
		lines = u.drainCRI("crictl -r " + shell("unix://"+socket) + " -i " + shell("unix://"+socket))
	case "moby":
		for _, c := range u.Containers {
			lines = append(lines, "docker rm -f "+shell(c.ID))
		}
		for _, ref := range u.Images {
			lines = append(lines, "docker rmi "+shell(ref))
		}
	default:
		for _, c := range u.Containers {
			if c.Kind == Nerdctl {
				lines = append(lines, "nerdctl -a "+shell(socket)+" -n "+shell(u.Namespace)+" rm -f "+shell(c.ID))
			} else {
				lines = append(lines, ctr+" tasks rm -f "+shell(c.ID)+" || true   # it may not be running", ctr+" containers rm "+shell(c.ID))
			}
		}
		for _, ref := range u.Images {
			lines = append(lines, ctr+" images rm --sync "+shell(ref))
		}
	}
	return append(lines, ctr+" snapshots --snapshotter "+Snapshotter+" ls   # must be empty in the end")
}

func (u Use) drainCRI(crictl string) []string {
	var lines []string
	if len(u.Containers) > 0 {
		lines = append(lines, "kubectl drain $(hostname) --ignore-daemonsets   # where there is a kubelet",
			"systemctl stop kubelet   # it would start the pods that are left again; start it when darter is removed")
	}
	// A pod takes its containers with it.
	for _, c := range u.Containers {
		if c.Kind == Member {
			lines = append(lines, crictl+" rm -f "+shell(c.ID))
		}
	}
	for _, c := range u.Containers {
		if c.Kind != Member {
			lines = append(lines, crictl+" rmp -f "+shell(c.ID))
		}
	}
	for _, ref := range u.Images {
		lines = append(lines, crictl+" rmi "+shell(ref))
	}
	return lines
}

// shell quotes a word for the shell.
func shell(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./-_") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
