package model

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"time"
)

// Time is a moment to the millisecond, in UTC. The zero Time is "never": 0 in a
// database and absent in JSON where the field says omitzero.
type Time struct{ time.Time }

// At returns t cut to the millisecond.
func At(t time.Time) Time {
	if t.IsZero() {
		return Time{}
	}
	return Time{t.UTC().Truncate(time.Millisecond)}
}

// Value implements driver.Valuer.
func (t Time) Value() (driver.Value, error) {
	if t.IsZero() {
		return int64(0), nil
	}
	return t.UnixMilli(), nil
}

// Scan implements sql.Scanner.
func (t *Time) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*t = Time{}
	case int64:
		*t = Time{}
		if v != 0 {
			*t = Time{time.UnixMilli(v).UTC()}
		}
	default:
		return fmt.Errorf("time from %T", v)
	}
	return nil
}

// GormDataType names the column's type.
func (Time) GormDataType() string { return "bigint" }

// MarshalJSON writes RFC 3339 with milliseconds.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return json.Marshal(t.UTC().Format("2006-01-02T15:04:05.000Z07:00"))
}

// UnmarshalJSON reads RFC 3339 or null.
func (t *Time) UnmarshalJSON(b []byte) error {
	var read *time.Time
	if err := json.Unmarshal(b, &read); err != nil {
		return err
	}
	*t = Time{}
	if read != nil {
		*t = At(*read)
	}
	return nil
}
