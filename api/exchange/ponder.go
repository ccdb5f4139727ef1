package exchange

import (
	"context"
	"log/slog"
	"sync"

	"github.com/mesita/mesita/api/budget"
)

// Some questions take a good part of a second of CPU to answer, on the node that
// decides for all: so many are thought about at once, one of each caller, and the
// others wait in line.
const (
	ponderAtOnce = 2
	ponderEach   = 8 // of a caller, with those that wait
	ponderAll    = 64
)

// pondering is the questions that are thought about, and their lines.
type pondering struct {
	asked *budget.Budget
	slots chan struct{}
	mu    sync.Mutex
	lines map[budget.Who]*line
}

// line is one caller's.
type line struct {
	turn chan struct{}
	n    int
}

func newPondering(log *slog.Logger, floods *budget.Floods) *pondering {
	limit := budget.Limits{Total: ponderAll, Each: ponderEach}
	return &pondering{asked: budget.New(budget.Config{Of: "questions of what would be", Limits: [3]budget.Limits{limit, limit, limit}, Log: log, Floods: floods}),
		slots: make(chan struct{}, ponderAtOnce), lines: map[budget.Who]*line{}}
}

// Ponder waits for the caller's turn to have something thought about that takes
// long, and then does it. It fails if the caller asks for too much at once, or goes
// away before.
func (c *Call) Ponder(think func(ctx context.Context) error) error {
	return c.ponders.do(c.R.Context(), c.who, think)
}

func (p *pondering) do(ctx context.Context, who budget.Who, think func(ctx context.Context) error) error {
	if err := p.asked.Take(who, 1); err != nil {
		return err
	}
	defer p.asked.Give(who, 1)
	l := p.join(who)
	defer p.leave(who, l)
	for _, turn := range []chan struct{}{l.turn, p.slots} { // first among its own: nobody has two of the few
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return think(ctx)
}

func (p *pondering) join(who budget.Who) *line {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.lines[who]
	if l == nil {
		l = &line{turn: make(chan struct{}, 1)}
		p.lines[who] = l
	}
	l.n++
	return l
}

func (p *pondering) leave(who budget.Who, l *line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.n--; l.n == 0 {
		delete(p.lines, who)
	}
}
