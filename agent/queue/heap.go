package queue

import "container/heap"

// A heapOf orders items by before. Each item keeps its own place (its index + 1; zero: it is
// not in the heap), so that any of them can be moved or taken out.
type heapOf[T any] struct {
	items  []T
	before func(a, b T) bool
	place  func(T) *int
}

// put adds the item, or moves it after it has changed.
func (q *heapOf[T]) put(item T) {
	if at := *q.place(item); at > 0 {
		heap.Fix(q, at-1)
		return
	}
	heap.Push(q, item)
}

// take removes the item if it is in the heap.
func (q *heapOf[T]) take(item T) {
	if at := *q.place(item); at > 0 {
		heap.Remove(q, at-1)
	}
}

// first is the first item; there must be one.
func (q *heapOf[T]) first() T { return q.items[0] }

// next removes and returns the first item; there must be one.
func (q *heapOf[T]) next() T { return heap.Pop(q).(T) }

// Len, Less, Swap, Push and Pop are for container/heap.
func (q *heapOf[T]) Len() int           { return len(q.items) }
func (q *heapOf[T]) Less(i, j int) bool { return q.before(q.items[i], q.items[j]) }
func (q *heapOf[T]) Swap(i, j int) {
	q.items[i], q.items[j] = q.items[j], q.items[i]
	*q.place(q.items[i]), *q.place(q.items[j]) = i+1, j+1
}
func (q *heapOf[T]) Push(x any) {
	item := x.(T)
	q.items = append(q.items, item)
	*q.place(item) = len(q.items)
}
func (q *heapOf[T]) Pop() any {
	last := len(q.items) - 1
	item := q.items[last]
	clear(q.items[last:])
	q.items = q.items[:last]
	*q.place(item) = 0
	return item
}
