package access

import (
	"slices"
	"time"
)

// kept is a map of bounded size: when it is full, the oldest tenth makes room.
type kept[K comparable, V any] struct {
	byKey map[K]V
	old   func(V) time.Time
}

func (m *kept[K, V]) put(k K, v V) {
	if m.byKey == nil {
		m.byKey = map[K]V{}
	}
	if _, known := m.byKey[k]; !known && len(m.byKey) >= maxKept {
		m.shrink()
	}
	m.byKey[k] = v
}

func (m *kept[K, V]) shrink() {
	ages := make([]time.Time, 0, len(m.byKey))
	for _, v := range m.byKey {
		ages = append(ages, m.old(v))
	}
	slices.SortFunc(ages, time.Time.Compare)
	limit, left := ages[len(ages)/10], len(ages)/10+1
	for k, v := range m.byKey {
		if left > 0 && !m.old(v).After(limit) {
			delete(m.byKey, k)
			left--
		}
	}
}
