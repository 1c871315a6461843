package trust

import "container/list"

// lru keeps the max values that were used last. It is not safe for concurrent use.
type lru[V any] struct {
	max   int
	order list.List // of *entry[V], the last used in front
	byKey map[string]*list.Element
}

type entry[V any] struct {
	key   string
	value V
}

func (l *lru[V]) get(key string) (V, bool) {
	e, ok := l.byKey[key]
	if !ok {
		var none V
		return none, false
	}
	l.order.MoveToFront(e)
	return e.Value.(*entry[V]).value, true
}

func (l *lru[V]) put(key string, value V) {
	if e, ok := l.byKey[key]; ok {
		e.Value.(*entry[V]).value = value
		l.order.MoveToFront(e)
		return
	}
	if l.byKey == nil {
		l.byKey = make(map[string]*list.Element, l.max)
	}
	for l.order.Len() >= l.max {
		delete(l.byKey, l.order.Remove(l.order.Back()).(*entry[V]).key)
	}
	l.byKey[key] = l.order.PushFront(&entry[V]{key, value})
}
