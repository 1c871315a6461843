package model

import "fmt"

// Application is a named consumer whose downloads have a priority. Nodes send its name
// with a download (X-Dragonfly-Application).
type Application struct {
	ID          int64  `json:"id" gorm:"primaryKey"`
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	// Priority is from 0, the most urgent, to 6: 0 and 1 as for a program that is blocked on
	// the bytes, 2 to 4 as the reader asks, 5 and 6 as for nobody who waits.
	Priority int64 `json:"priority"`
	// URLs are priorities of their own for what matches; the first that matches counts.
	URLs      []URLPriority `json:"urls,omitempty" gorm:"serializer:json"`
	CreatedAt Time          `json:"created_at" gorm:"autoCreateTime:false"`
	UpdatedAt Time          `json:"updated_at" gorm:"autoUpdateTime:false"`
}

// URLPriority is the priority of the URLs that a regular expression matches.
type URLPriority struct {
	Pattern  string `json:"pattern"`
	Priority int64  `json:"priority"`
}

// MaxPriority is the least urgent priority.
const MaxPriority = 6

// Validate checks name, priorities and patterns.
func (a *Application) Validate() error {
	if err := checkName("name", a.Name); err != nil {
		return err
	}
	if err := checkText("description", a.Description); err != nil {
		return err
	}
	if err := checkPriority("priority", a.Priority); err != nil {
		return err
	}
	if len(a.URLs) > MaxList {
		return invalid("urls", "%d entries, want at most %d", len(a.URLs), MaxList)
	}
	for i, u := range a.URLs {
		at := fmt.Sprintf("urls[%d].", i)
		if u.Pattern == "" {
			return invalid(at+"pattern", "empty")
		}
		if err := checkPattern(at+"pattern", u.Pattern); err != nil {
			return err
		}
		if err := checkPriority(at+"priority", u.Priority); err != nil {
			return err
		}
	}
	return nil
}

func checkPriority(field string, p int64) error {
	if p < 0 || p > MaxPriority {
		return invalid(field, "%d is not within 0 and %d", p, MaxPriority)
	}
	return nil
}
