package server

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"

	"github.com/darter-p2p/darter/plugin/rafs"
	"github.com/darter-p2p/darter/plugin/rafs/device"
)

// layout is what a bootstrap says of a blob, as a device wants it.
type layout struct{ *rafs.Blob }

func (l layout) Size() int64 { return l.DeviceSize }
func (l layout) Chunks() int { return len(l.Blob.Chunks()) }

func (l layout) Chunk(i int) device.Chunk {
	c := &l.Blob.Chunks()[i]
	return device.Chunk{Offset: c.DeviceOffset(), Size: int(c.Size), BlobOffset: c.CompressedOffset, BlobSize: int(c.CompressedSize)}
}

func (l layout) Decode(i int, dst, compressed []byte) error { return l.Blob.Decode(i, compressed, dst) }

// fingerprint is a digest of everything that the bootstrap says of the blob: images
// that say different things of one blob do not share a device, for one of them may lie.
func (l layout) fingerprint() device.Fingerprint {
	h := sha256.New()
	le := binary.LittleEndian
	b := le.AppendUint32(nil, uint32(l.Compressor))
	b = le.AppendUint32(b, uint32(l.Digester))
	b = le.AppendUint64(b, uint64(l.DeviceSize))
	chunks := l.Blob.Chunks()
	for i := range chunks {
		c := &chunks[i]
		compressed := uint32(0)
		if c.Compressed() {
			compressed = 1
		}
		b = append(b, c.Digest[:]...)
		b = le.AppendUint64(b, uint64(c.DeviceOffset()))
		b = le.AppendUint64(b, uint64(c.CompressedOffset))
		b = le.AppendUint32(b, c.Size)
		b = le.AppendUint32(b, c.CompressedSize)
		b = le.AppendUint32(b, compressed)
		h.Write(b)
		b = b[:0]
	}
	h.Write(b)
	return device.Fingerprint(h.Sum(nil))
}

// name is the device's: the blob's and the layout's.
func (l layout) name() string {
	f := l.fingerprint()
	return fmt.Sprintf("%s-%x", l.ID, f[:8])
}

// openImage opens a bootstrap. The caller closes the file when the image is not used
// any more.
func openImage(path string) (*rafs.Image, *os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	fi, err := f.Stat()
	if err == nil {
		var img *rafs.Image
		if img, err = rafs.Open(f, fi.Size(), rafs.DefaultLimits()); err == nil {
			return img, f, nil
		}
	}
	_ = f.Close()
	return nil, nil, err
}
