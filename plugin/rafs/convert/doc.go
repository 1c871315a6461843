// Package convert makes a Nydus image (RAFS v6) out of the layers of an ordinary one:
// a data blob for each layer, its files cut into chunks that are compressed and hashed
// one by one, and a bootstrap, the EROFS image with the merged tree of all layers.
//
// The same layers and options give the same bytes. See DESIGN.md.
package convert
