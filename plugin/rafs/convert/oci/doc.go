// Package oci converts images where they lie: it reads an ordinary image from a registry
// or an OCI layout, has package convert make a Nydus image of it, and puts that into a
// registry or a layout, alone or beside the ordinary one in an index.
package oci
