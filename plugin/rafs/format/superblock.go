package format

import (
	"encoding/binary"
)

var le = binary.LittleEndian

// Sizes and places that never change.
const (
	BlockBits = 12
	BlockSize = 1 << BlockBits // of the file and of the devices

	SuperblockOffset = 1024
	SuperblockSize   = 128
	ExtensionOffset  = SuperblockOffset + SuperblockSize // 1152
	ExtensionSize    = 256
	DeviceOffset     = ExtensionOffset + ExtensionSize // 1408: the device table

	SlotSize = 32 // a node number counts slots of the metadata area
)

// Magic is the first number of an EROFS superblock.
const Magic = 0xE0F5E1E2

// MagicV5 is the first number, at offset 0, of a RAFS v5 bootstrap.
const MagicV5 = 0x52414653 // "RAFS"

// Feature bits of the superblock.
const (
	CompatChecksum = 0x00000001 // Superblock.Checksum is set
	CompatRAFSv6   = 0x40000000 // an Extension follows

	IncompatChunkedFile = 0x00000004 // files are lists of chunks
	IncompatDeviceTable = 0x00000008 // there are devices besides this file
)

// Superblock is the EROFS superblock, 128 bytes at offset 1024.
type Superblock struct {
	Checksum        uint32 // 0: RAFS does not use it
	FeatureCompat   uint32 // Compat… bits
	RootNode        uint16 // node number of the root directory
	Inodes          uint64 // how many there are
	BuildTime       uint64 // Unix seconds; the time of compact inodes
	BuildNanos      uint32
	Blocks          uint32 // of all devices, for statfs
	MetaBlock       uint32 // block where the metadata area starts
	XattrBlock      uint32 // block where shared xattrs start; 0: none
	UUID            [16]byte
	VolumeName      [16]byte
	FeatureIncompat uint32 // Incompat… bits
	Devices         uint16 // slots of the device table
	DeviceTable     uint16 // its offset in units of 128 bytes
}

// ParseSuperblock reads a superblock from the first 128 bytes of b. It accepts
// the features that RAFS v6 uses and no others: an unknown bit may change the
// meaning of any other byte.
func ParseSuperblock(b []byte) (Superblock, error) {
	if err := need(b, SuperblockSize, "superblock"); err != nil {
		return Superblock{}, err
	}
	if magic := le.Uint32(b); magic != Magic {
		return Superblock{}, malformed("superblock: magic number %#x is not that of EROFS", magic)
	}
	s := Superblock{
		Checksum:        le.Uint32(b[4:]),
		FeatureCompat:   le.Uint32(b[8:]),
		RootNode:        le.Uint16(b[14:]),
		Inodes:          le.Uint64(b[16:]),
		BuildTime:       le.Uint64(b[24:]),
		BuildNanos:      le.Uint32(b[32:]),
		Blocks:          le.Uint32(b[36:]),
		MetaBlock:       le.Uint32(b[40:]),
		XattrBlock:      le.Uint32(b[44:]),
		UUID:            [16]byte(b[48:64]),
		VolumeName:      [16]byte(b[64:80]),
		FeatureIncompat: le.Uint32(b[80:]),
		Devices:         le.Uint16(b[86:]),
		DeviceTable:     le.Uint16(b[88:]),
	}
	switch {
	case s.FeatureCompat&CompatRAFSv6 == 0:
		return Superblock{}, unsupported("superblock: an EROFS image without RAFS v6 metadata (compatible features %#x)", s.FeatureCompat)
	case s.FeatureIncompat&^(IncompatChunkedFile|IncompatDeviceTable) != 0:
		return Superblock{}, unsupported("superblock: incompatible features %#x, of which RAFS v6 has %#x",
			s.FeatureIncompat, IncompatChunkedFile|IncompatDeviceTable)
	case b[12] == 9:
		return Superblock{}, unsupported("superblock: blocks of 512 bytes (tarfs mode)")
	case b[12] != BlockBits:
		return Superblock{}, unsupported("superblock: blocks of 2^%d bytes, not 4096", b[12])
	case b[13] != 0:
		return Superblock{}, unsupported("superblock: %d extension slots", b[13])
	case le.Uint16(b[84:]) != 0:
		return Superblock{}, unsupported("superblock: EROFS compression %#x", le.Uint16(b[84:]))
	case s.XattrBlock != 0:
		return Superblock{}, unsupported("superblock: shared extended attributes at block %d", s.XattrBlock)
	case b[90] != 0:
		return Superblock{}, unsupported("superblock: directory blocks of 2^%d blocks", b[90])
	case s.BuildNanos >= 1e9:
		return Superblock{}, malformed("superblock: build time with %d nanoseconds", s.BuildNanos)
	}
	return s, nil
}

// AppendTo appends the 128 bytes of the superblock to b.
func (s Superblock) AppendTo(b []byte) []byte {
	var o [SuperblockSize]byte
	le.PutUint32(o[0:], Magic)
	le.PutUint32(o[4:], s.Checksum)
	le.PutUint32(o[8:], s.FeatureCompat)
	o[12] = BlockBits
	le.PutUint16(o[14:], s.RootNode)
	le.PutUint64(o[16:], s.Inodes)
	le.PutUint64(o[24:], s.BuildTime)
	le.PutUint32(o[32:], s.BuildNanos)
	le.PutUint32(o[36:], s.Blocks)
	le.PutUint32(o[40:], s.MetaBlock)
	le.PutUint32(o[44:], s.XattrBlock)
	copy(o[48:], s.UUID[:])
	copy(o[64:], s.VolumeName[:])
	le.PutUint32(o[80:], s.FeatureIncompat)
	le.PutUint16(o[86:], s.Devices)
	le.PutUint16(o[88:], s.DeviceTable)
	return append(b, o[:]...)
}

// NodeOffset returns where in the file the inode with a node number starts,
// and false when the number is beyond what a file can hold.
func (s Superblock) NodeOffset(node uint64) (int64, bool) {
	if node > 1<<48 {
		return 0, false
	}
	return int64(s.MetaBlock)<<BlockBits + int64(node)*SlotSize, true
}
