// Package format holds the on-disk structures of a RAFS v6 bootstrap, the
// metadata file of a Nydus image: what each byte means, how it is written and
// how it is read from bytes that nobody vouches for.
//
// A bootstrap is an EROFS image with external devices, one per data blob, that
// the kernel mounts as it is. RAFS adds, where EROFS sees nothing, a second
// superblock and three tables (blobs, chunks, files to prefetch) that say how
// to make the devices' contents out of the blobs.
//
//	0     unused
//	1024  Superblock (EROFS, 128 bytes)
//	1152  Extension (RAFS, 256 bytes)
//	1408  DeviceSlot per blob (128 bytes each), at Superblock.DeviceTable
//	...   blob table: Blob per blob (256 bytes each), block aligned
//	...   prefetch table: node numbers (4 bytes each)
//	...   metadata area from Superblock.MetaBlock on: inodes at 32-byte
//	      slots, each with its xattrs and its chunk indexes, symlink target or
//	      last part of a directory behind it; directory blocks
//	...   chunk table: Chunk per chunk (80 bytes each), block aligned
//
// All numbers are little endian. Each structure has a Parse function, which
// checks what can be seen in the structure alone, and an AppendTo method,
// which writes what Parse reads. What the structures say about each other is
// for package rafs to check.
package format
