package format

import (
	"bytes"
	"reflect"
	"testing"
)

// FuzzStructures gives the same bytes to every Parse function. What is accepted
// must be written and read again as it was.
func FuzzStructures(f *testing.F) {
	file := bootstrap(f, "small.boot")
	f.Add(file[SuperblockOffset:][:SuperblockSize])
	f.Add(file[ExtensionOffset:][:ExtensionSize])
	f.Add(file[DeviceOffset:][:DeviceSlotSize])
	f.Add(file[4096:][:BlobSize])
	f.Add(file[16384:][:ChunkEntrySize])
	f.Add(file[12288:][:200])
	f.Add(AppendDir(nil, []Dirent{{5, TypeDir, "."}, {5, TypeDir, ".."}, {6, TypeRegular, "file"}}))
	f.Add(AppendXattrs(nil, []Xattr{{"user.a", []byte{1}}, {"system.posix_acl_default", []byte("x")}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		again(t, b, ParseSuperblock)
		again(t, b, ParseExtension)
		again(t, b, ParseDeviceSlot)
		again(t, b, ParseBlob)
		again(t, b, ParseChunk)
		again(t, b, ParseInode)
		again(t, b, ParseChunkIndex)
		if entries, err := ParseDirBlock(b); err == nil {
			got, err := ParseDirBlock(AppendDir(nil, entries))
			if err != nil || !reflect.DeepEqual(got, entries) {
				t.Errorf("directory %v is read again as %v, %v", entries, got, err)
			}
		}
		if xattrs, err := ParseXattrs(b); err == nil && len(b) <= XattrSize(65535) {
			if _, err := XattrCount(xattrs); err != nil {
				t.Error(err)
			}
			got, err := ParseXattrs(AppendXattrs(nil, xattrs))
			if err != nil || len(got) != len(xattrs) || len(got) > 0 && !reflect.DeepEqual(got, xattrs) {
				t.Errorf("xattrs %v are read again as %v, %v", xattrs, got, err)
			}
		}
	})
}

func again[T interface{ AppendTo([]byte) []byte }](t *testing.T, b []byte, parse func([]byte) (T, error)) {
	first, err := parse(b)
	if err != nil {
		return
	}
	written := first.AppendTo(nil)
	second, err := parse(written)
	if err != nil || !reflect.DeepEqual(first, second) || !bytes.Equal(written, second.AppendTo(nil)) {
		t.Errorf("%+v is read again as %+v, %v", first, second, err)
	}
}
