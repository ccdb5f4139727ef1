package fsm

import (
	"fmt"
	"maps"
	"slices"

	"github.com/mesita/mesita/api"
)

// This file has how room becomes a reservation, and back.

// StepKind is what a ReservationStep does.
type StepKind string

// The kinds of steps.
const (
	StepReserve   StepKind = "reserve"
	StepUnreserve StepKind = "unreserve"
	StepCreate    StepKind = "create"  // a volume, of what is reserved
	StepDestroy   StepKind = "destroy" // a volume, whose disk is reserved as before
)

// ReservationStep is one change of what is reserved on a node.
type ReservationStep struct {
	Kind      StepKind          `json:"kind"`
	Partition string            `json:"partition,omitempty"`
	Principal string            `json:"principal,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
	Resources api.Resources     `json:"resources"`
	Volume    *api.Volume       `json:"volume,omitempty"` // that is made or destroyed
}

// Conversion is steps of an operation of a framework: all of them are done, or none.
type Conversion struct {
	Before int               `json:"before"` // which task of the command
	Steps  []ReservationStep `json:"steps"`
}

// ReservationChange changes what is reserved on a node, whoever is offered it. It is done
// as a whole or not at all. Its value is how many steps.
type ReservationChange struct {
	Meta
	NodeID string            `json:"nodeID"`
	Steps  []ReservationStep `json:"steps"`
}

func (c *ReservationChange) apply(x *tx) (any, error) {
	row := x.rowAt(c.NodeID)
	if row == nil || row.node.State == api.NodeGone {
		return nil, api.NotFound("node", c.NodeID)
	}
	var gone []*api.Offer
	done, err := x.ground(row, nil).try(c.Steps)
	if err != nil { // unless it is on offer
		if gone = x.offersWhere(func(o *api.Offer) bool { return o.NodeID == c.NodeID }); len(gone) > 0 {
			done, err = x.ground(row, gone).try(c.Steps)
		}
	}
	if err != nil {
		return nil, err
	}
	for _, o := range gone {
		x.endOffer(o, "what is reserved on its node was changed")
	}
	done.commit()
	return len(c.Steps), nil
}

// ground is what of a node may be converted.
type ground struct {
	*tx
	node   *api.Node
	room   api.Resources            // that nobody has
	free   map[string]api.Resources // of reservations, by their ids
	gone   []*api.Offer             // that end if something is done
	rows   int                      // reservations of the node, -1: not counted yet
	within bool                     // what partitions are guaranteed
}

// ground is all that is free of a node, also of what is on offer if that is to end.
func (x *tx) ground(row *nodeRow, gone []*api.Offer) *ground {
	g := &ground{tx: x, node: row.node, room: row.roomWithout(gone), free: map[string]api.Resources{}, gone: gone, rows: -1}
	for r := range x.onNode(row.node.ID) {
		g.free[r.res.ID] = r.free()
	}
	for _, o := range gone {
		for i := range o.Reserved {
			p := &o.Reserved[i]
			g.free[p.Reservation] = g.free[p.Reservation].Add(p.Resources)
		}
	}
	return g
}

// attempt is steps that are done once it is committed: what they change of a ground.
type attempt struct {
	*ground
	room api.Resources
	free map[string]api.Resources    // of what changed
	rows map[string]*api.Reservation // as they will be, those that change
	made map[string]int              // rows that are added, by partition
}

// try is the ground after some steps, or why one of them cannot be done.
func (g *ground) try(steps []ReservationStep) (*attempt, error) {
	if len(steps) > api.MaxNodeReservations {
		return nil, api.FieldErrorf("steps", "has %d steps, at most %d are allowed", len(steps), api.MaxNodeReservations)
	}
	a := &attempt{ground: g, room: g.room, free: map[string]api.Resources{}, rows: map[string]*api.Reservation{}, made: map[string]int{}}
	for i := range steps {
		if err := a.step(&steps[i]); err != nil {
			return nil, err
		}
	}
	return a, a.allowed()
}

func (a *attempt) step(s *ReservationStep) error {
	if err := s.validate(); err != nil {
		return err
	}
	if a.partitions.get(&api.Partition{Path: s.Partition}) == nil {
		return api.NotFound("partition", s.Partition)
	}
	id := api.ReservationID(s.Partition, s.Principal, s.Labels)
	switch s.Kind {
	case StepCreate:
		return a.create(s, id)
	case StepDestroy:
		return a.destroy(s, id)
	case StepUnreserve:
		if err := a.take(id, s.Resources); err != nil {
			return err
		}
		a.room = a.room.Add(s.Resources)
		return nil
	}
	for _, p := range a.chain(s.Partition) {
		if p.Drain {
			return conflict("partition %s is being removed, and takes no new work", p.Path)
		}
	}
	if short, fits := a.room.Missing(s.Resources); !fits {
		return conflict("there is not so much room: %s", short)
	}
	a.room = a.room.Minus(s.Resources)
	return a.add(s, id)
}

// validate checks what of a step does not depend on what there is.
func (s *ReservationStep) validate() error {
	r := s.Resources
	if err := r.Validate(); err != nil {
		return api.InField("resources", err)
	}
	switch {
	case r.Equal(api.Resources{}):
		return api.FieldErrorf("resources", "is nothing")
	case r.Pins != 0 || r.MemExtra != 0:
		return api.FieldErrorf("resources", "has what cannot be reserved")
	}
	switch s.Kind {
	case StepReserve, StepUnreserve:
		if s.Volume != nil {
			return api.FieldErrorf("volume", "is neither made nor destroyed by %s", s.Kind)
		}
	case StepCreate, StepDestroy:
		if err := s.validateVolume(); err != nil {
			return err
		}
	default:
		return api.FieldErrorf("kind", "%q does not change a reservation", s.Kind)
	}
	return api.ValidateReserver(s.Principal, s.Labels)
}

// row is a reservation as it will be, nil if there will be none.
func (a *attempt) row(id string) *api.Reservation {
	if r := a.rows[id]; r != nil {
		return r
	}
	if r := a.reservation(a.node.ID, id); r != nil {
		return r.res
	}
	return nil
}

// own is it so that it may be changed.
func (a *attempt) own(id string) *api.Reservation {
	if r := a.rows[id]; r != nil {
		return r
	}
	r := *a.row(id)
	a.rows[id] = &r
	return &r
}

// left is what is free of one.
func (a *attempt) left(id string) api.Resources {
	if r, changed := a.free[id]; changed {
		return r
	}
	return a.ground.free[id]
}

// take has something that is free of a reservation be no more of it.
func (a *attempt) take(id string, r api.Resources) error {
	left := a.left(id)
	if short, fits := left.Missing(r); a.row(id) == nil || !fits {
		return conflict("not as much is reserved so, and not in use: %s", short)
	}
	row := a.own(id)
	row.Resources, a.free[id] = row.Resources.Minus(r), left.Minus(r)
	return nil
}

// add has a reservation have more, which is made if there is none.
func (a *attempt) add(s *ReservationStep, id string) error {
	if a.row(id) == nil {
		if err := a.oneMore(s.Partition); err != nil {
			return err
		}
	}
	a.put(s, id)
	return nil
}

func (a *attempt) put(s *ReservationStep, id string) {
	if a.row(id) == nil {
		a.rows[id] = &api.Reservation{ID: id, NodeID: a.node.ID, Partition: s.Partition, Principal: s.Principal, Labels: s.Labels, Created: a.At}
	}
	row := a.own(id)
	row.Resources, a.free[id] = row.Resources.Add(s.Resources), a.left(id).Add(s.Resources)
}

// oneMore counts a reservation that is made, unless there are too many.
func (a *attempt) oneMore(partition string) error {
	if a.ground.rows < 0 {
		a.ground.rows = 0
		for range a.onNode(a.node.ID) {
			a.ground.rows++
		}
	}
	made := 0
	for _, n := range a.made {
		made += n
	}
	switch {
	case a.ground.rows+made >= api.MaxNodeReservations:
		return conflict("node %s has %d reservations, and no more are kept of a node", a.node.Name, api.MaxNodeReservations)
	case a.reservedIn(partition)+a.made[partition] >= api.MaxPartitionReservations:
		return conflict("partition %s has %d reservations, and no more are kept of a partition", partition, api.MaxPartitionReservations)
	case a.reserved.len()+made >= api.MaxReservations:
		return conflict("the cluster has %d reservations, and no more are kept", api.MaxReservations)
	}
	a.made[partition]++
	return nil
}

// allowed refuses what is more than partitions may hold, or have reserved.
func (a *attempt) allowed() error {
	more := map[string]api.Resources{} // of partitions, those below them included
	for id, now := range a.rows {
		is := now.Resources
		if old := a.reservation(a.node.ID, id); old != nil {
			is = is.Minus(old.res.Resources)
		}
		for path := now.Partition; path != ""; path = api.ParentPath(path) {
			more[path] = more[path].Add(charged(is))
		}
	}
	for _, path := range slices.Sorted(maps.Keys(more)) {
		p := a.partitions.get(&api.Partition{Path: path})
		if p == nil {
			continue
		}
		if !p.Limit.IsZero() {
			if name := over(p.Limit, a.chargedWithout(path, a.gone), more[path]); name != "" {
				return conflict("partition %s may not hold so much more %s by its limit", path, name)
			}
		}
		if !a.within {
			continue
		}
		need, has := api.AmountsOf(more[path]), api.AmountsOf(a.reservedBelow(path))
		for _, name := range names(need) {
			if n := need.Of(name); n > 0 && has.Of(name)+n > p.Guaranteed().Of(name) {
				return conflict("partition %s is guaranteed %s=%s, and a framework may not reserve more of it: an operator may", path, name, api.FormatAmount(name, p.Guaranteed().Of(name)))
			}
		}
	}
	return nil
}

// over is of what a limit is passed with so much more, "" if of nothing.
func over(limit api.Amounts, held, more api.Resources) string {
	need, has := api.AmountsOf(more), api.AmountsOf(held)
	for _, name := range names(limit) {
		if n := need.Of(name); n > 0 && has.Of(name)+n > limit.Of(name) {
			return name
		}
	}
	return ""
}

func names(a api.Amounts) (out []string) {
	for name := range a.Each {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// commit stores what changed.
func (a *attempt) commit() {
	for _, id := range slices.Sorted(maps.Keys(a.rows)) {
		a.store(id, a.rows[id])
	}
	g := a.ground
	g.room = a.room
	for id, r := range a.free {
		if g.free[id] = r; g.reservation(g.node.ID, id) == nil {
			delete(g.free, id)
		}
	}
}

// store has a reservation be another one.
func (a *attempt) store(id string, now *api.Reservation) {
	g, old := a.ground, a.reservation(a.node.ID, id)
	var was api.Resources
	row := &reservationRow{res: now}
	if old != nil {
		was, row.used, row.offered = old.res.Resources, old.used, old.offered
	}
	counted, none := g.rows >= 0, now.Resources.Equal(api.Resources{})
	switch {
	case none && old != nil:
		g.reserved.delete(g.tx, old)
		if counted {
			g.rows--
		}
	case !none:
		g.reserved.put(g.tx, row)
		if counted && old == nil {
			g.rows++
		}
	}
	if !was.Equal(now.Resources) {
		g.tellReservation(g.node, now, was, now.Resources, "")
	}
}

// reservedBelow is what a partition has reserved, with those below it.
func (t *tables) reservedBelow(path string) (sum api.Resources) {
	for r := range t.usageIn(path) {
		sum = sum.Add(r.Reserved)
	}
	return sum
}

// giveUp has a node keep of what is reserved, and neither in use nor on offer, only what it
// has room for: what it says that it has is less than before.
func (x *tx) giveUp(row *nodeRow, has api.Resources) {
	var rows []*reservationRow
	for r := range x.onNode(row.node.ID) {
		rows = append(rows, r)
	}
	for _, r := range slices.Backward(rows) {
		held := row.allocated.Add(row.reclaiming).Add(row.offered)
		if has.Fits(held) {
			return
		}
		if r.res.Volume != nil { // there are files in it, whatever the node says that it has
			continue
		}
		cut := r.free().Lacking(held, has)
		if cut.Equal(api.Resources{}) {
			continue
		}
		now := *r.res
		now.Resources = now.Resources.Minus(cut)
		if now.Resources.Equal(api.Resources{}) {
			x.reserved.delete(x, r)
		} else {
			x.reserved.put(x, &reservationRow{res: &now, used: r.used, offered: r.offered})
		}
		x.tellReservation(row.node, &now, r.res.Resources, now.Resources, "the node has less than it had")
		row = x.rowAt(row.node.ID)
	}
}

// cutWords keeps why something is not done short: names in it may be long.
func cutWords(err error) string {
	const most = 500
	if s := err.Error(); len(s) > most {
		return fmt.Sprintf("%s… (%d bytes)", s[:most], len(s))
	}
	return err.Error()
}
