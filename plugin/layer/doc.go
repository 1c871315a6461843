// Package layer unpacks one layer of an image into a directory that overlayfs can
// use as it is: what containerd's own unpack makes of the layer, but without its
// parents, so that the layers of an image are unpacked in parallel and while their
// bytes arrive. Settle then gives what a parent decides.
//
// See DESIGN.md for what is held equal to containerd, and what an archive cannot do.
package layer
