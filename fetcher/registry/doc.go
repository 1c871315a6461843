// Package registry reads blobs and manifests of OCI registries: the source.Source
// for origins "oci://<host>/<repository>/{blobs,manifests}/<digest or tag>".
//
// Per registry it knows a URL, certificates, a proxy and mirrors, from tables of the
// configuration or from an outer Hosts (containerd's certs.d). It gets bearer tokens
// as docker's clients do, follows redirects itself, and never gives a reader's
// credential to another host than the registry it is meant for and that registry's
// token server.
package registry
