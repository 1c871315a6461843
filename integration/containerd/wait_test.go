package containerd

import (
	"strings"
	"testing"
	"time"
)

// eventually fails the test unless a condition holds within a time that is long even
// on a busy machine.
func eventually(t *testing.T, holds func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := holds()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Error(err)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// lines are those of a text that are not empty.
func lines(text string) []string { return strings.Fields(text) }
