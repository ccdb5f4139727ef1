package keeper

import (
	"context"
	"errors"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/clock"
)

// statsAtOnce is how many attempts one question is about: while a keeper from before reads
// their counters, starts wait. A question about more is refused, so if this is raised,
// such keepers are to be asked for no more than 32.
const statsAtOnce = 32

// statsReaders is for how many questions a keeper reads at a time.
const statsReaders = 4

// Stats tells what a running attempt uses; the names in it are left empty.
func (c *Client) Stats(ctx context.Context, id string) (api.TaskStats, error) {
	return c.stats(ctx, id, api.StatsAll)
}

func (c *Client) stats(ctx context.Context, id string, detail api.StatsDetail) (api.TaskStats, error) {
	m, err := c.ask(ctx, id, message{Op: opStats, ID: id, Detail: detail})
	if err != nil {
		return api.TaskStats{}, err
	}
	if m.Stats == nil {
		return api.TaskStats{}, errors.New("the keeper did not answer with statistics")
	}
	m.Stats.Sampled = clock.Uptime()
	if p := c.holderOf(id); p != nil {
		m.Stats.OldKeeper = p.old()
	}
	return *m.Stats, nil
}

// AllStats is Stats of many attempts, in their order; nil is of one that does not run. A
// question for each of thousands cost as much again as all that is read for them.
func (c *Client) AllStats(ctx context.Context, ids []string, detail api.StatsDetail) []*api.TaskStats {
	out := make([]*api.TaskStats, len(ids))
	at := map[*peer][]int{}
	for i, id := range ids {
		if p := c.holderOf(id); p != nil {
			at[p] = append(at[p], i)
		} else if st, err := c.stats(ctx, id, detail); err == nil {
			out[i] = &st
		}
	}
	for p, all := range at {
		for len(all) > 0 {
			some := all[:min(len(all), statsAtOnce)]
			all = all[len(some):]
			c.someStats(ctx, p, detail, ids, some, out)
		}
	}
	return out
}

func (c *Client) someStats(ctx context.Context, p *peer, detail api.StatsDetail, ids []string, at []int, out []*api.TaskStats) {
	m := message{Op: opStats, Detail: detail}
	for _, i := range at {
		m.IDs = append(m.IDs, ids[i])
	}
	r, err := p.do(ctx, false, m)
	// A keeper from before there was this question takes it for one about no attempt, and
	// one may take fewer at once than this daemon asks for.
	if refused := (*remoteError)(nil); errors.As(err, &refused) {
		for _, i := range at {
			if st, err := c.stats(ctx, ids[i], detail); err == nil {
				out[i] = &st
			}
		}
		return
	}
	if err != nil || len(r.AllStats) != len(at) {
		return
	}
	now, old := clock.Uptime(), p.old()
	for k, i := range at {
		if out[i] = r.AllStats[k]; out[i] != nil {
			out[i].Sampled, out[i].OldKeeper = now, old
		}
	}
}

// old reports whether what runs there is the child of an earlier version.
func (p *peer) old() bool {
	l, err := p.current()
	return err == nil && l != nil && !l.knows.current()
}
