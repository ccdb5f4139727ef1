package history

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// What one event costs from the store to the disk; at 50,000 events a second
// its time times that is the share of a core.
func BenchmarkWrite(b *testing.B) {
	w := &writer{History: New(Config{Dir: b.TempDir(), Node: "oak", Now: time.Now, Log: slog.New(slog.DiscardHandler)})}
	w.open()
	defer w.close()
	events := make([]api.Event, 8192)
	for i := range events {
		events[i] = testEvent(uint64(i+1), time.Now())
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		e := events[i%len(events)]
		e.Index = uint64(i + 1)
		w.put(&e)
	}
	w.flush()
	b.StopTimer()
	var size int64
	for _, s := range w.segments {
		size += s.size
	}
	b.ReportMetric(float64(size)/float64(w.last-w.segments[0].first+1), "disk-B/op")
}

// Looking for one task in a million events, and for what happened in a minute.
func BenchmarkFind(b *testing.B) {
	h := New(Config{Dir: b.TempDir(), Node: "oak", Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	w := &writer{History: h}
	w.open()
	begin := time.Now()
	for i := range uint64(1_000_000) {
		e := testEvent(i+1, begin.Add(time.Duration(i)*time.Millisecond))
		w.put(&e)
	}
	w.close()
	look := func(f api.EventFilter) func(*testing.B) {
		return func(b *testing.B) {
			for range b.N {
				n := 0
				if err := h.Newest(context.Background(), f, func(*api.Event) bool { n++; return n < 100 }); err != nil || n == 0 {
					b.Fatal(n, err)
				}
			}
		}
	}
	b.Run("newest", look(api.EventFilter{}))
	b.Run("task", look(api.EventFilter{For: "job7.17"}))
	b.Run("minute", look(api.EventFilter{Since: begin.Add(time.Minute), Until: begin.Add(2 * time.Minute)}))
	b.Run("open", func(b *testing.B) {
		for range b.N {
			(&writer{History: New(h.cfg)}).open()
		}
	})
}

// A million placements as fast as one store takes them, with a history that
// follows and without: what it costs, and what it could not keep up with.
func BenchmarkPlaceAMillion(b *testing.B) {
	for name, followed := range map[string]bool{"alone": false, "followed": true} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				missed, busy := placeAMillion(b, followed)
				b.ReportMetric(missed, "missed")
				b.ReportMetric(busy, "placements/s")
			}
		})
	}
}

func placeAMillion(b *testing.B, followed bool) (missed, perSecond float64) {
	const jobs, tasks = 1000, 1000
	s := fsm.NewStore(nil)
	propose := func(cmds ...fsm.Command) {
		res, err := s.Propose(context.Background(), cmds...)
		for _, r := range res {
			if err == nil {
				err = r.Err
			}
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	now := fsm.Meta{At: time.Now(), Actor: "scheduler"}
	big := api.Resources{CPUs: 1 << 40, Mem: 1 << 60}
	propose(&fsm.ClusterInit{Level: fsm.Newest, Meta: now, Cluster: &api.Cluster{ID: "c", Name: "pine"}, Authority: &api.Authority{}, Node: &api.Node{ID: "n1", Name: "oak"}},
		&fsm.NodeHello{Meta: now, ID: "n1", Hello: api.NodeHello{Resources: big}})
	ctx, cancel := context.WithCancel(context.Background())
	h := New(Config{Dir: b.TempDir(), Node: "oak", Source: s, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	done := make(chan error, 1)
	if followed {
		go func() { done <- h.Run(ctx) }()
	}
	begin := time.Now()
	for j := range jobs {
		spec := &api.JobSpec{Kind: api.KindBatch, Name: fmt.Sprintf("job%d", j), Array: "0-999", TaskSpec: api.TaskSpec{Command: []string{"true"}, Placing: api.Placing{Request: api.Request{CPUs: 10, Mem: 1 << 20}}}}
		spec.Normalize()
		place := &fsm.TaskPlace{Meta: now, Placements: make([]fsm.Placement, tasks)}
		for i := range place.Placements {
			place.Placements[i] = fsm.Placement{Job: spec.Name, Index: i, Attempt: 1, NodeID: "n1"}
		}
		propose(&fsm.JobCreate{Meta: now, Spec: spec}, place)
	}
	took := time.Since(begin)
	cancel()
	if !followed {
		return 0, jobs * tasks / took.Seconds()
	}
	<-done
	kept := 0
	if err := h.Newest(context.Background(), api.EventFilter{}, func(*api.Event) bool { kept++; return true }); err != nil {
		b.Fatal(err)
	}
	return float64(s.View().LastEvent()) - float64(kept), jobs * tasks / took.Seconds()
}
