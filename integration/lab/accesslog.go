package lab

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Request is one line of the registry's access log.
type Request struct {
	From   netip.Addr
	Time   time.Time // when it began, to the second
	Method string
	Path   string // with the query
	Status int
	Bytes  int64 // of the answer's body
	Agent  string
}

// IsBlobRead reports whether the request asked for the bytes of a layer or a config.
func (r Request) IsBlobRead() bool {
	return r.Method == "GET" && strings.Contains(r.Path, "/blobs/sha256:")
}

// String is the request in short.
func (r Request) String() string {
	return r.From.String() + " " + r.Method + " " + r.Path + " " + strconv.Itoa(r.Status) + " " + strconv.FormatInt(r.Bytes, 10)
}

// accessLine is Apache's combined format.
var accessLine = regexp.MustCompile(`^(\S+) \S+ \S+ \[([^\]]+)\] "(\S+) (\S+) [^"]*" (\d{3}) (\d+) "[^"]*" "([^"]*)"$`)

// parseAccessLog returns the requests among the lines of a log.
func parseAccessLog(text []byte) []Request {
	var requests []Request
	for line := range strings.Lines(string(text)) {
		m := accessLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		from, err := netip.ParseAddr(m[1])
		if err != nil {
			continue
		}
		// The expression lets only numbers through; one too large is 0.
		status, _ := strconv.Atoi(m[5])
		bytes, _ := strconv.ParseInt(m[6], 10, 64)
		began, _ := time.Parse("02/Jan/2006:15:04:05 -0700", m[2])
		requests = append(requests, Request{from, began, m[3], m[4], status, bytes, m[7]})
	}
	return requests
}
