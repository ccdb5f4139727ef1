package offer

import (
	"fmt"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// BenchmarkDeclining is a pass over 10,000 nodes of which each of 1,000 frameworks has
// declined all: the first that finds it out, and those after it.
func BenchmarkDeclining(b *testing.B) {
	const nodes, frameworks = 10_000, 1_000
	w := newBench(b, nodes)
	for i := range frameworks {
		w.connect(fmt.Sprint("f", i), api.DefaultPartition)
	}
	v := w.store.View()
	decline := func() {
		for i := range frameworks {
			for n := range v.Nodes() {
				w.desk.Refuse(fmt.Sprint("f", i), api.DefaultPartition, n.ID, v.Free(n.ID), api.Resources{}, time.Hour, false)
			}
		}
	}
	decline()
	b.Run("first", func(b *testing.B) {
		for range b.N {
			b.StopTimer()
			w.desk.mu.Lock()
			clear(w.desk.nobody)
			w.desk.mu.Unlock()
			b.StartTimer()
			if out, _ := w.maker.decide(v, w.now, nil); len(out) > 0 {
				b.Fatalf("%d offers", len(out))
			}
		}
	})
	b.Run("after", func(b *testing.B) {
		for range 1000 {
			if _, next := w.maker.decide(v, w.now, nil); next.After(w.now) {
				break
			}
		}
		for range b.N {
			if out, next := w.maker.decide(v, w.now, nil); len(out) > 0 || !next.After(w.now) {
				b.Fatalf("%d offers, next %v", len(out), next)
			}
		}
	})
}
