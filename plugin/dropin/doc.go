// Package dropin makes darter a plugin and a mirror of a node's containerd, and
// takes it away again: one drop-in file for containerd, one line in its main file
// where that imports nothing, and the mirror in certs.d. It reads the merged
// configuration from containerd itself, proves every change on a copy before it
// writes, restarts nothing, and keeps what was there so that each byte can be
// restored. DESIGN.md beside this file says why.
package dropin
