// Package snapshot is the snapshot door: a containerd snapshotter, used as a proxy
// plugin, that catches an image's layers before containerd fetches them. It is
// containerd's overlay snapshotter; only Prepare of a layer is answered otherwise:
// the layer comes through the fetcher, is unpacked while it arrives, checked against
// its diffID and committed, and containerd is told that the snapshot exists already.
// Whatever goes wrong, containerd gets the ordinary mounts and fetches the layer itself.
package snapshot
