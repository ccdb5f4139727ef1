package offer

import (
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
		r := &room{node: d.view.Node(s.node)}
		sortCandidates(in[s.partition])
		for _, c := range in[s.partition] {
			if !d.eligible(c, r.node) {
				continue
			}
			ok, again := c.takes(s, r.left, api.ReservedSum(d.reserved[s]), d.now)
			if ok {
				d.make(c, r, r.left)
				break
			}
			d.later(again)
		}
	}
}
