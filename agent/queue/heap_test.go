package queue

import (
	"math/rand/v2"
	"testing"
)

func TestAHeapGivesItsItemsInOrderWhateverIsMovedOrTaken(t *testing.T) {
	type item struct{ key, at int }
	h := heapOf[*item]{before: func(a, b *item) bool { return a.key < b.key }, place: func(i *item) *int { return &i.at }}
	in := map[*item]bool{}
	items := make([]*item, 100)
	for i := range items {
		items[i] = &item{}
	}
	for range 10_000 {
		i := items[rand.IntN(len(items))]
		if rand.IntN(3) == 0 {
			h.take(i)
			delete(in, i)
		} else {
			i.key = rand.IntN(50)
			h.put(i)
			in[i] = true
		}
		if (i.at > 0) != in[i] || h.Len() != len(in) {
			t.Fatalf("%d items, want %d", h.Len(), len(in))
		}
	}
	for last := -1; h.Len() > 0; {
		i := h.next()
		if i.key < last || i.at != 0 {
			t.Fatalf("%d after %d, at %d", i.key, last, i.at)
		}
		last = i.key
	}
}
