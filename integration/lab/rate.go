package lab

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Rate is the speed of a link in bits per second, payload and headers alike; 0 = not limited.
type Rate int64

const (
	Kbit Rate = 1_000
	Mbit      = 1_000 * Kbit
	Gbit      = 1_000 * Mbit
)

// ParseRate reads a rate as tc writes it: "200mbit", "1gbit", "500kbit".
func ParseRate(s string) (Rate, error) {
	for suffix, unit := range map[string]Rate{"kbit": Kbit, "mbit": Mbit, "gbit": Gbit} {
		if number, ok := strings.CutSuffix(s, suffix); ok {
			n, err := strconv.ParseFloat(number, 64)
			if err != nil || n <= 0 {
				break
			}
			return Rate(n * float64(unit)), nil
		}
	}
	return 0, fmt.Errorf("rate %q: want a number and kbit, mbit or gbit", s)
}

// String is what ParseRate reads.
func (r Rate) String() string {
	switch {
	case r == 0:
		return "not limited"
	case r%Gbit == 0:
		return fmt.Sprintf("%dgbit", r/Gbit)
	case r%Mbit == 0:
		return fmt.Sprintf("%dmbit", r/Mbit)
	}
	return fmt.Sprintf("%gkbit", float64(r)/float64(Kbit))
}

// Bytes returns how many bytes the link carries in d.
func (r Rate) Bytes(d time.Duration) int64 {
	return int64(float64(r) / 8 * d.Seconds())
}

// Seconds returns how long the link needs for n bytes.
func (r Rate) Seconds(n int64) float64 { return float64(n) * 8 / float64(r) }
