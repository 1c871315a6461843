// Package rafs reads RAFS v6 bootstraps, the metadata of Nydus images: which
// blobs an image has, how the devices that the kernel's EROFS asks for are made
// of the blobs' chunks, and the tree of files.
//
// Open checks the superblocks and the tables and keeps the chunks in memory;
// inodes and directories are read from the file when they are asked for. All of
// it treats the file as hostile: every number is checked before it is used, and
// Limits bound memory and work. What the package does not do it names: RAFS v5,
// zran, batch and tarfs images and encrypted ones are errdefs.ErrNotImplemented,
// a broken file is errdefs.ErrInvalidArgument, a chunk whose bytes are not what
// its digest says is errdefs.ErrDataLoss.
//
// DESIGN.md says what each byte of the file means.
package rafs
