package offer

import (
	"cmp"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
)

// offerReserved offers what partitions have reserved and that went with no other offer: to
// who of the partition takes it, who holds least first. It is the partition's whoever has it,
// so nobody's turn is asked for.
func (d *decision) offerReserved() {
	at := make([]string, 0, len(d.reserved))
	for s := range d.reserved {
		at = append(at, s.partition+" "+s.node)
	}
	slices.Sort(at)
	first, _ := slices.BinarySearch(at, d.from)
	at = append(at[first:len(at):len(at)], at[:first]...)
	d.from = ""
	in := map[string][]*candidate{}
	for _, c := range d.all {
		in[c.partition] = append(in[c.partition], c)
	}
	looks, made := 0, len(d.out)
	for _, key := range at {
		path, node, _ := strings.Cut(key, " ")
		s := spot{path, node}
		if looks += len(in[s.partition]); d.full() || looks > maxReservedLooks {
			d.from = key
			if len(d.out) > made || d.full() {
				d.later(d.now)
			} else {
				d.later(d.now.Add(shortRest)) // nobody takes it, and nothing remembers that
			}
			return
		}
		r, has := &room{node: d.view.Node(s.node)}, api.ReservedSum(d.reserved[s])
		rested, rests := d.rests(s.node, s.partition, has, len(in[s.partition]))
		if rests {
			continue
		}
		if rested { // to who was offered something longest ago, as who holds least declined it
			slices.SortFunc(in[s.partition], func(a, b *candidate) int { return cmp.Or(cmp.Compare(a.last, b.last), strings.Compare(a.id, b.id)) })
		} else {
			sortCandidates(in[s.partition])
		}
		for _, c := range in[s.partition] {
			if !d.eligible(c, r.node) {
				continue
			}
			ok, again := c.takes(c.reserved, s, has, d.now)
			if ok {
				d.make(c, r, r.left)
				break
			}
			d.later(again)
		}
	}
}
