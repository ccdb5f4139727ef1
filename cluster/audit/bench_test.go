package audit

import (
	"context"
	"log/slog"
	"testing"
	"time"
)

// BenchmarkNote is what a change costs until it is written, with its chain and
// comparison.
func BenchmarkNote(b *testing.B) {
	l := New(Config{Dir: b.TempDir(), Node: "oak", Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Run(ctx)
	}()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		l.Note(scaled(i))
	}
	cancel()
	<-done
}
