// Package server is the mount server: it mounts RAFS v6 images whose data is not there
// yet, keeps the mounts alive over its own death and darterd's, and fetches what they
// need through darterd. See DESIGN.md.
package server
