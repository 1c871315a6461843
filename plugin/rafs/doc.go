// Package rafs reads RAFS v6 bootstraps, the metadata of Nydus images.
package rafs
