package format

import "strings"

// Xattr is an extended attribute with its full name ("security.capability").
type Xattr struct {
	Name  string
	Value []byte
}

const (
	xattrHeaderSize = 12 // a hash of names, a count of shared xattrs
	xattrEntrySize  = 4
)

// xattrPrefixes are the beginnings of names that a number stands for. The two
// access control lists are whole names.
var xattrPrefixes = [...]string{
	1: "user.",
	2: "system.posix_acl_access",
	3: "system.posix_acl_default",
	4: "trusted.",
	6: "security.",
}

func isWholeName(index int) bool { return index == 2 || index == 3 }

// XattrSize returns the length of the xattrs behind an inode with an XattrCount.
func XattrSize(count uint16) int {
	if count == 0 {
		return 0
	}
	return xattrHeaderSize + (int(count)-1)*xattrEntrySize
}

// ParseXattrs reads the xattrs behind an inode; b has the length XattrSize says.
func ParseXattrs(b []byte) ([]Xattr, error) {
	if len(b) == 0 {
		return nil, nil
	}
	if err := need(b, xattrHeaderSize, "xattrs"); err != nil {
		return nil, err
	}
	if b[4] != 0 {
		return nil, unsupported("xattrs: %d shared ones", b[4])
	}
	var xattrs []Xattr
	for b = b[xattrHeaderSize:]; len(b) > 0; {
		if err := need(b, xattrEntrySize, "xattr"); err != nil {
			return nil, err
		}
		nameLen, index, valueLen := int(b[0]), int(b[1]), int(le.Uint16(b[2:]))
		if index >= len(xattrPrefixes) || xattrPrefixes[index] == "" {
			return nil, unsupported("xattr: name prefix %d", index)
		}
		if isWholeName(index) != (nameLen == 0) {
			return nil, malformed("xattr: a name of %d bytes behind %q", nameLen, xattrPrefixes[index])
		}
		end := xattrEntrySize + nameLen + valueLen
		if err := need(b, align4(end), "xattr"); err != nil {
			return nil, err
		}
		name := string(b[xattrEntrySize : xattrEntrySize+nameLen])
		if strings.ContainsRune(name, 0) {
			return nil, malformed("xattr: name %q", name)
		}
		value := append([]byte{}, b[xattrEntrySize+nameLen:end]...)
		xattrs = append(xattrs, Xattr{Name: xattrPrefixes[index] + name, Value: value})
		b = b[align4(end):]
	}
	return xattrs, nil
}

// XattrCount returns the XattrCount of an inode with these xattrs. It fails when
// a name or a value is not one that EROFS can hold.
func XattrCount(xattrs []Xattr) (uint16, error) {
	if len(xattrs) == 0 {
		return 0, nil
	}
	size := 0
	for _, x := range xattrs {
		_, name, ok := splitXattr(x.Name)
		if !ok {
			return 0, unsupported("xattr %q: EROFS has no such name", x.Name)
		}
		if len(name) > 255 || len(x.Value) > 65535 {
			return 0, unsupported("xattr %q: %d bytes of name, %d of value", x.Name, len(name), len(x.Value))
		}
		size += align4(xattrEntrySize + len(name) + len(x.Value))
	}
	count := 1 + size/xattrEntrySize
	if count > 65535 {
		return 0, unsupported("xattrs of %d bytes together", size)
	}
	return uint16(count), nil
}

// AppendXattrs appends what ParseXattrs reads. The xattrs must be such that
// XattrCount accepts them.
func AppendXattrs(b []byte, xattrs []Xattr) []byte {
	if len(xattrs) == 0 {
		return b
	}
	b = append(b, make([]byte, xattrHeaderSize)...)
	for _, x := range xattrs {
		index, name, _ := splitXattr(x.Name)
		b = append(b, byte(len(name)), byte(index))
		b = le.AppendUint16(b, uint16(len(x.Value)))
		b = append(b, name...)
		b = append(b, x.Value...)
		end := xattrEntrySize + len(name) + len(x.Value)
		b = append(b, make([]byte, align4(end)-end)...)
	}
	return b
}

// splitXattr returns the number of a name's prefix and the rest of the name.
func splitXattr(name string) (index int, rest string, ok bool) {
	for i, prefix := range xattrPrefixes {
		if prefix == "" {
			continue
		}
		rest, found := strings.CutPrefix(name, prefix)
		if found && isWholeName(i) == (rest == "") {
			return i, rest, true
		}
	}
	return 0, "", false
}

func align4(n int) int { return (n + 3) &^ 3 }
