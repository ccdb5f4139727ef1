package exchange

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/budget"
)

// Few questions are thought about at once, one of each caller, and who asks for too
// much, or goes away, is not kept in line; all that were kept get their turn.
func TestFewThinkAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPondering(slog.New(slog.DiscardHandler), nil)
		begun, goOn := make(chan string, 100), make(chan struct{})
		ask := func(ctx context.Context, name string) chan error {
			done := make(chan error, 1)
			go func() {
				done <- p.do(ctx, budget.Who{Class: budget.User, Name: name}, func(context.Context) error {
					begun <- name
					<-goOn
					return nil
				})
			}()
			synctest.Wait()
			return done
		}
		var all []chan error
		for range ponderEach {
			all = append(all, ask(t.Context(), "ann"))
		}
		if len(begun) != 1 {
			t.Errorf("%d of one caller at once", len(begun))
		}
		var busy *api.Error
		if err := <-ask(t.Context(), "ann"); !errors.As(err, &busy) || busy.Code != api.CodeBusy {
			t.Errorf("%v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 5 {
			all = append(all, ask(t.Context(), fmt.Sprint("bob", i)))
		}
		gone := ask(ctx, "cid")
		if len(begun) != ponderAtOnce {
			t.Errorf("%d at once", len(begun))
		}
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		close(goOn)
		for _, done := range all {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if len(p.lines) != 0 || p.asked.Held() != 0 || len(p.slots) != 0 {
			t.Errorf("%d lines, %d held, %d slots are left", len(p.lines), p.asked.Held(), len(p.slots))
		}
	})
}
