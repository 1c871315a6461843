// Package client asks the mount server, the process darter-rafs, to mount RAFS v6
// images. It holds both sides' vocabulary: JSON over HTTP on a Unix socket.
package client
