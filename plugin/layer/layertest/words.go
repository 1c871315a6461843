package layertest

import (
	"archive/tar"
	"strings"
)

// words are what Entries makes names of.
var words = []string{"a", "b", "c", "d", "..", ".", "", ".wh.a", ".wh.b", ".wh..wh..opq", "/", "../outside", "a/b", ".wh."}

// Entries makes entries of a fuzzer's bytes, out of a few words, so that its changes are of
// what the archive says and not of its checksums. It reads four bytes an entry: type, two words of the name, the link's target.
func Entries(program []byte) []Entry {
	word := func(b byte) string { return words[int(b)%len(words)] }
	var all []Entry
	for ; len(program) >= 4; program = program[4:] {
		name, target := word(program[1]), word(program[3])
		if w := word(program[2]); w != "" {
			name += "/" + w
		}
		if program[0]%6 != 1 { // archive/tar writes the slash of directories only
			name = strings.TrimRight(name, "/")
		}
		if name == "" || name == "/" {
			name = "."
		}
		var e Entry
		switch program[0] % 6 {
		case 0:
			e = File(name, target)
		case 1:
			e = Dir(name, 0o750)
		case 2:
			e = Symlink(name, target+"/"+word(program[0]/6))
		case 3:
			e = Hardlink(name, target+"/"+word(program[0]/6))
		case 4:
			e = Device(name, tar.TypeFifo, 0, 0)
		case 5:
			e = Device(name, tar.TypeChar, 0, 0)
		}
		all = append(all, e)
	}
	return all
}
