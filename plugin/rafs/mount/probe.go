package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/darter-p2p/darter/plugin/rafs/format"
)

// Probe finds out how this machine mounts images, by mounting a tiny one. device is a
// file of DeviceSize bytes on the file system that the devices of images will be on;
// the first byte of the probe image's file is read from it. dir is an empty directory
// for the files of the probe. With only one mode wanted the others are not tried; "" is
// any.
func Probe(dir, device string, want byte, only Mode) Method {
	var refusals []string
	for _, m := range []Method{{Mode: FileBacked, DirectIO: true}, {Mode: FileBacked}, {Mode: Loop}} {
		if only != "" && m.Mode != only {
			continue
		}
		err := try(m, dir, device, want)
		if err == nil {
			m.Reason = strings.Join(refusals, "; ")
			return m
		}
		refusals = append(refusals, fmt.Sprintf("%s: %v", m.Mode, err))
	}
	return Method{Mode: Refused, Reason: strings.Join(refusals, "; ")}
}

// DeviceSize is the length of Probe's device in bytes.
const DeviceSize = format.BlockSize

// try mounts the probe image, reads it and unmounts it.
func try(m Method, dir, device string, want byte) (err error) {
	bootstrap, at := filepath.Join(dir, "image.boot"), filepath.Join(dir, "mnt")
	if err := os.WriteFile(bootstrap, ProbeImage(), 0o600); err != nil {
		return err
	}
	if err := os.MkdirAll(at, 0o700); err != nil {
		return err
	}
	if err := m.Mount(Image{bootstrap, []string{device}}, at); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, Unmount(at)) }()
	got, err := os.ReadFile(filepath.Join(at, "f"))
	if err != nil {
		return err
	}
	if len(got) != DeviceSize || got[0] != want {
		return fmt.Errorf("the mounted file has %d bytes, not the device's", len(got))
	}
	return nil
}

// ProbeImage returns an EROFS image of two blocks with one file, "f", which is the
// first block of its one device.
func ProbeImage() []byte {
	const meta, root, file = 1, 0, 4 // the block of the inodes, and their nodes
	var b []byte
	b = append(b, make([]byte, format.SuperblockOffset)...)
	b = format.Superblock{
		FeatureCompat: format.CompatRAFSv6, RootNode: root, Inodes: 2, Blocks: 3, MetaBlock: meta,
		FeatureIncompat: format.IncompatChunkedFile | format.IncompatDeviceTable, Devices: 1, DeviceTable: format.DeviceOffset / format.DeviceSlotSize,
	}.AppendTo(b)
	b = append(b, make([]byte, format.ExtensionSize)...)
	b = format.DeviceSlot{ID: strings.Repeat("0", format.BlobIDSize), Blocks: 1, MappedBlock: 2}.AppendTo(b)
	b = append(b, make([]byte, meta*format.BlockSize-len(b))...)

	names := format.AppendDir(nil, []format.Dirent{
		{Node: root, Type: format.TypeDir, Name: "."}, {Node: root, Type: format.TypeDir, Name: ".."}, {Node: file, Type: format.TypeRegular, Name: "f"},
	})
	b = format.Inode{Layout: format.LayoutInline, Mode: format.ModeDir | 0o555, Size: uint64(len(names)), Number: 1, Links: 2}.AppendTo(b)
	b = append(b, names...)
	b = append(b, make([]byte, meta*format.BlockSize+file*format.SlotSize-len(b))...)
	b = format.Inode{
		Layout: format.LayoutChunked, Mode: format.ModeRegular | 0o444, Size: DeviceSize, Number: 2, Links: 1,
		Union: uint32(format.NewChunkFormat(format.BlockSize)),
	}.AppendTo(b)
	b = format.ChunkIndex{Device: 1, Block: 0}.AppendTo(b)
	return append(b, make([]byte, (meta+1)*format.BlockSize-len(b))...)
}
