package figure

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{4, 1}, 2.5}, {[]float64{9, 1, 2}, 2}} {
		before := slices.Clone(c.values)
		if got := Median(c.values); got != c.want || !slices.Equal(before, c.values) {
			t.Errorf("median of %v: %v, want %v; then %v", before, got, c.want, c.values)
		}
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	one, two := filepath.Join(dir, "out", "one.json"), filepath.Join(dir, "two.json")
	if err := Write(map[string]int{"a": 1}, one, two); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{one, two} {
		if text, err := os.ReadFile(path); string(text) != "{\n  \"a\": 1\n}\n" || err != nil {
			t.Errorf("%s: %q, %v", path, text, err)
		}
	}
	if Write(func() {}, one) == nil {
		t.Error("a function is JSON")
	}
}
