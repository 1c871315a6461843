package memory

import "testing"

func TestParsePeak(t *testing.T) {
	n, err := parsePeak("Name:\tdarterd\nVmPeak:\t 99 kB\nVmHWM:\t   27344 kB\nVmRSS:\t 20000 kB\n")
	if n != 27344<<10 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := parsePeak("Name:\tx\n"); err == nil {
		t.Error("a status without VmHWM has one")
	}
}
