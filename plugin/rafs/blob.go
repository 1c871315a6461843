package rafs

import (
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/plugin/rafs/format"
)

// Blob is a data blob of an image: the source of one device.
type Blob struct {
	ID             string // sha256 of the blob, hexadecimal: its name in the registry
	Index          int    // place in Image.Blobs
	Compressor     format.Compressor
	Digester       format.Digester
	Features       uint32 // format.Blob… bits
	CompressedSize int64  // bytes of the blob that chunks lie in; the blob may be longer
	DeviceSize     int64  // bytes of the device, a whole number of blocks

	announced  uint32 // how many chunks the blob table says it has
	chunks     []Chunk
	decompress *decompressor
}

// Digest returns the name of the blob as a digest.
func (b *Blob) Digest() digest.Digest { return digest.NewDigestFromEncoded(digest.SHA256, b.ID) }

// readBlobs reads the device table and the blob table, which name the same
// blobs in the same order.
func (im *Image) readBlobs() error {
	count := int(im.super.Devices)
	if may := min(im.limits.Blobs, format.MaxBlobs); count > may {
		return im.limits.exceeded("blobs", count, may)
	}
	slots, err := im.readTable(format.Region{
		Offset: uint64(im.super.DeviceTable) * format.DeviceSlotSize,
		Size:   uint64(count) * format.DeviceSlotSize,
	}, "device table")
	if err != nil {
		return err
	}
	if entries := im.ext.BlobTable.Size / format.BlobSize; entries != uint64(count) {
		return malformed("%d devices, but %d blobs", count, entries)
	}
	table, err := im.readTable(im.ext.BlobTable, "blob table")
	if err != nil {
		return err
	}
	seen := make(map[string]bool, count)
	for i := range count {
		slot, err := format.ParseDeviceSlot(slots[i*format.DeviceSlotSize:])
		if err != nil {
			return fmt.Errorf("device %d: %w", i, err)
		}
		entry, err := format.ParseBlob(table[i*format.BlobSize:])
		if err != nil {
			return fmt.Errorf("blob %d: %w", i, err)
		}
		if err := agree(i, slot, entry, im.ext.ChunkSize); err != nil {
			return err
		}
		if seen[entry.ID] {
			return malformed("blob %s is there twice", entry.ID)
		}
		seen[entry.ID] = true
		im.blobs = append(im.blobs, newBlob(i, slot, entry, im.decompress))
	}
	return nil
}

// agree checks that the two descriptions of a blob are of the same one.
func agree(i int, slot format.DeviceSlot, entry format.Blob, chunkSize uint32) error {
	switch {
	case slot.ID != entry.ID:
		return malformed("device %d is blob %s in one table and %s in the other", i, slot.ID, entry.ID)
	case entry.Index != uint32(i):
		return malformed("blob %s is number %d and says it is %d", entry.ID, i, entry.Index)
	case entry.ChunkSize != chunkSize:
		return malformed("blob %s has chunks of %d bytes, the image of %d", entry.ID, entry.ChunkSize, chunkSize)
	case entry.UncompressedSize > uint64(slot.Blocks)<<format.BlockBits:
		return malformed("blob %s has %d bytes, its device %d blocks", entry.ID, entry.UncompressedSize, slot.Blocks)
	}
	return nil
}

func newBlob(i int, slot format.DeviceSlot, entry format.Blob, d *decompressor) *Blob {
	return &Blob{
		ID:             entry.ID,
		Index:          i,
		Compressor:     entry.Compressor,
		Digester:       entry.Digester,
		Features:       entry.Features,
		CompressedSize: int64(entry.CompressedSize),
		DeviceSize:     int64(slot.Blocks) << format.BlockBits,
		announced:      entry.Chunks,
		decompress:     d,
	}
}

// readTable returns the bytes of a short table. The caller has bounded its size.
func (im *Image) readTable(g format.Region, what string) ([]byte, error) {
	offset, size, err := im.region(g, what)
	if err != nil || size == 0 {
		return nil, err
	}
	b := make([]byte, size)
	return b, im.readFull(b, offset)
}

// CheckBlobs returns an error unless every blob of the image is one of the
// layers given: those of the manifest that brought the bootstrap. A bootstrap
// that names other blobs would have darter read, with the rights of this pull,
// what nobody asked for.
func (im *Image) CheckBlobs(layers []digest.Digest) error {
	known := make(map[digest.Digest]bool, len(layers))
	for _, l := range layers {
		known[l] = true
	}
	for _, b := range im.blobs {
		if !known[b.Digest()] {
			return fmt.Errorf("bootstrap: blob %s is no layer of the image's manifest: %w", b.Digest(), errdefs.ErrInvalidArgument)
		}
	}
	return nil
}
