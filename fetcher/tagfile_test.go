package fetcher

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/p2p"
)

func tagged(name, content string, seen time.Time) p2p.Tag {
	return p2p.Tag{
		Origin: p2p.Origin("oci://registry.test/app/manifests/" + name),
		Digest: digest.FromString(content), Size: 7, MediaType: "application/json", Seen: seen,
	}
}

func openTags(t *testing.T, path string) (*Tags, int) {
	t.Helper()
	m, damaged, err := OpenTags(path, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m, damaged
}

func put(t *testing.T, m *Tags, tag p2p.Tag, want bool) {
	t.Helper()
	if news, err := m.put(tag); err != nil || news != want {
		t.Errorf("put %s: news %v, %v", tag.Origin, news, err)
	}
}

func TestTagsOutliveTheProcess(t *testing.T) {
	path, now := filepath.Join(t.TempDir(), "tags"), time.Now()
	m, _ := openTags(t, path)
	put(t, m, tagged("1", "old", now.Add(-2*time.Hour)), true)
	put(t, m, tagged("1", "new", now), true)
	put(t, m, tagged("1", "new", now.Add(time.Second)), false)
	put(t, m, tagged("2", "x", now.Add(-25*time.Hour)), true)
	put(t, m, tagged("3", "x", now.Add(48*time.Hour)), true)
	// A process that is killed closes nothing, and may leave half a line.
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cut := tagLine(tagged("4", "x", now))
	if _, err := f.Write(cut[:len(cut)-1]); err != nil {
		t.Fatal(err)
	}
	f.Close()
	m, damaged := openTags(t, path)
	if damaged != 1 {
		t.Errorf("%d damaged lines, want the one that was cut", damaged)
	}
	if got, ok := m.get(tagged("1", "", now).Origin); !ok || got.Digest != digest.FromString("new") || got.MediaType != "application/json" {
		t.Errorf("tag 1: %+v, %v", got, ok)
	}
	for _, name := range []string{"2", "4"} {
		if got, ok := m.get(tagged(name, "", now).Origin); ok {
			t.Errorf("tag %s: %+v", name, got)
		}
	}
	if got, ok := m.get(tagged("3", "", now).Origin); !ok || got.Seen.After(time.Now()) {
		t.Errorf("a tag of the future: %+v, %v", got, ok)
	}
	if got := m.Recent(1); len(got) != 1 {
		t.Errorf("%+v", got)
	}
	if _, damaged := openTags(t, path); damaged != 0 {
		t.Errorf("the damage was not taken away: %d", damaged)
	}
}

func TestTagsDamaged(t *testing.T) {
	path, now := filepath.Join(t.TempDir(), "tags"), time.Now()
	lines := [][]byte{tagLine(tagged("1", "x", now)), tagLine(tagged("2", "x", now)), tagLine(tagged("3", "x", now))}
	flipped := bytes.Clone(lines[1])
	flipped[len(flipped)/2] ^= 1
	for name, tt := range map[string]struct {
		file          []byte
		tags, damaged int
	}{
		"whole":     {bytes.Join(lines, nil), 3, 0},
		"flipped":   {bytes.Join([][]byte{lines[0], flipped, lines[2]}, nil), 2, 1},
		"zeros":     {make([]byte, 100_000), 0, 1},
		"long line": {append(append(bytes.Repeat([]byte("x"), 100_000), '\n'), lines[0]...), 1, 1},
		"text":      {[]byte("hello\nworld\n"), 0, 2},
		"no manifest": {tagLine(p2p.Tag{
			Origin: "oci://r/a/blobs/" + p2p.Origin(digest.FromString("x")), Digest: digest.FromString("x"), Seen: now,
		}), 0, 1},
	} {
		if err := os.WriteFile(path, tt.file, 0o600); err != nil {
			t.Fatal(err)
		}
		m, damaged := openTags(t, path)
		if len(m.tags) != tt.tags || damaged != tt.damaged {
			t.Errorf("%s: %d tags and %d damaged lines, want %d and %d", name, len(m.tags), damaged, tt.tags, tt.damaged)
		}
	}
}

func TestTagsAreBounded(t *testing.T) {
	path, now := filepath.Join(t.TempDir(), "tags"), time.Now()
	m, _ := openTags(t, path)
	for i := range maxTags + 1 {
		put(t, m, tagged(fmt.Sprint("t", i), "x", now.Add(time.Duration(i))), true)
	}
	if _, ok := m.get(tagged("t0", "", now).Origin); ok || len(m.tags) > maxTags {
		t.Errorf("%d tags are remembered, the oldest among them: %v", len(m.tags), ok)
	}
	for i := range 5000 { // one tag that changes all the time
		put(t, m, tagged("moving", fmt.Sprint(i), now.Add(time.Hour)), true)
	}
	for i := range 3 * maxTags {
		put(t, m, tagged("moving", fmt.Sprint("x", i), now.Add(time.Hour)), true)
	}
	if m.lines > 2*maxTags+1001 {
		t.Errorf("the file has %d lines for %d tags", m.lines, len(m.tags))
	}
}

func FuzzParseTags(f *testing.F) {
	now := time.Unix(1_800_000_000, 0)
	f.Add(append(tagLine(tagged("1", "x", now)), "rubbish\n"...))
	f.Add([]byte("00000000 \n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		tags, _, err := parseTags(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		for _, tag := range tags {
			again, err := parseTagLine(bytes.TrimSuffix(tagLine(tag), []byte("\n")))
			if err != nil || again != tag {
				t.Fatalf("%+v is read as %+v, %v", tag, again, err)
			}
		}
	})
}
