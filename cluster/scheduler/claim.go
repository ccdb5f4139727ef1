package scheduler

import (
	"slices"
	"time"

	"github.com/mesita/mesita/api"
)

// claimFor is how long room that is being taken back is kept for whom it is taken,
// beside the notice that those have who give it.
// Where tasks take longer to end it is claimed again meanwhile, without ending more.
const claimFor = time.Minute

// claim is room on a node that is being taken back for a task of a job: without it
// whoever is served while the first of several victims has ended gets what that
// held, and is preempted again. It is remembered by the engine alone: a new
// leader does not know of it, and takes back once more at worst; where those run on who
// were told to leave, it first finds out anew for whom that is: see Engine.fresh.
type claim struct {
	job      string
	path     string
	node     string
	need     api.Resources
	until    time.Time
	lasts    time.Duration // from when it was made
	entitled bool          // a guarantee covers it, as of this pass
	from     []string      // tasks that leave after a notice for it
}

// renewClaims keeps the claims of earlier passes that can still come true: their
// jobs wait for them, and what they count on is there or on its way.
func (p *pass) renewClaims() {
	old := p.e.claims
	p.e.claims = nil
	waits := map[string]int{}
	room := map[int]api.Resources{}
	for _, c := range old {
		l, i := p.e.jobs[c.job], p.slotOf(c)
		if l == nil || l.entry == nil || l.part != c.path || i < 0 || !c.until.After(p.now) || c.until.Sub(p.now) > c.lasts || waits[c.job] >= l.entry.job.Counts.Pending {
			continue
		}
		left, seen := room[i]
		if !seen {
			left = p.e.slots.Free[i].Add(p.e.slots.Coming[i])
		}
		if !left.Fits(c.need) {
			continue
		}
		room[i] = left.Minus(c.need)
		waits[c.job]++
		c.entitled = p.entitled(c.path, c.need)
		p.addClaim(c)
	}
}

func (p *pass) slotOf(c *claim) int {
	if i, ok := p.e.slots.Of(c.node); ok && p.e.slots.Node[i].Schedulable() {
		return i
	}
	return -1
}

func (p *pass) addClaim(c *claim) {
	p.e.claims = append(p.e.claims, c)
	i := p.slotOf(c)
	p.claims[i] = append(p.claims[i], c)
	p.again(c.until)
}

// endClaim ends a job's claim on a slot, which one of its tasks got.
func (p *pass) endClaim(job string, slot int) {
	is := func(c *claim) bool { return c.job == job }
	if k := slices.IndexFunc(p.claims[slot], is); k >= 0 {
		p.dropClaim(p.claims[slot][k], slot)
	}
}

func (p *pass) dropClaim(c *claim, slot int) {
	is := func(x *claim) bool { return x == c }
	p.claims[slot] = slices.DeleteFunc(p.claims[slot], is)
	p.e.claims = slices.DeleteFunc(p.e.claims, is)
}

// claimed is what is claimed of a slot by others than those that a task of a
// partition, of which the queue has that entry, goes before. Of a job that is not
// in the queue, as a frozen task's may be, the entry is nil.
func (p *pass) claimed(t *turn, e *entry, job string, slot int, need api.Resources) (sum api.Resources, any bool) {
	for _, c := range p.claims[slot] {
		switch {
		case c.job == job || p.before(t, e, c):
		case !c.entitled && p.isAhead(t.q.part.Path, c.path, need):
		default:
			sum, any = sum.Add(c.need), true
		}
	}
	return sum, any
}

// before reports whether a job is before the one of a claim in the queue of both.
func (p *pass) before(t *turn, e *entry, c *claim) bool {
	l := p.e.jobs[c.job]
	return e != nil && c.path == t.q.part.Path && l != nil && l.entry != nil && (t.q.users != nil || e.before(l.entry))
}

// leavesClaims reports whether enough is left for the claims of others on a slot, or
// on its way, once a task took what it needs there.
func (p *pass) leavesClaims(t *turn, e *entry, job string, slot int, need api.Resources) bool {
	if p.unknown(slot) {
		return false
	}
	if len(p.claims[slot]) == 0 {
		return true
	}
	sum, any := p.claimed(t, e, job, slot, need)
	return !any || p.e.slots.Free[slot].Add(p.e.slots.Coming[slot]).Minus(sum).Fits(need)
}
