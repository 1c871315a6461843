package access

import (
	"sync"
	"time"
)

// maxStrangers are the audits of refused strangers in a minute.
const maxStrangers = 600

// Strangers bounds the audits that callers whom nobody knows can cause, so that they
// cannot fill the database. It is safe for concurrent use.
type Strangers struct {
	mu     sync.Mutex
	minute int64
	count  int
}

// May reports whether one more may be written.
func (s *Strangers) May(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if minute := now.Unix() / 60; minute != s.minute {
		s.minute, s.count = minute, 0
	}
	s.count++
	return s.count <= maxStrangers
}

// Outcome is the audit's word for a status.
func Outcome(status int) string {
	switch {
	case status < 400:
		return "ok"
	case status == 401 || status == 403 || status == 429:
		return "refused"
	}
	return "failed"
}
