package cluster

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestStackStopsInReverseOrder(t *testing.T) {
	s := newStack()
	var stopped []string
	for _, name := range []string{"port", "raft", "http"} {
		s.start(name, func(ctx context.Context) error {
			<-ctx.Done()
			stopped = append(stopped, name) // no lock: each is joined before the next is told
			return nil
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.wait(ctx); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(stopped, []string{"http", "raft", "port"}) {
		t.Errorf("stopped in the order %v", stopped)
	}
}

func TestStackStopsWhenAPartFails(t *testing.T) {
	s := newStack()
	below := false
	s.start("below", func(ctx context.Context) error { <-ctx.Done(); below = true; return nil })
	s.start("disk", func(context.Context) error { return errors.New("is gone") })
	err := s.wait(context.Background())
	if err == nil || !strings.Contains(err.Error(), "disk: is gone") || !below {
		t.Errorf("got %v, the part below stopped: %v", err, below)
	}
}
