package keeper

import (
	"sync"

	"github.com/mesita/mesita/executor/vouch"
)

// fates is what a keeper answers of its attempts when the cluster asks: what
// runs, what ended, and what was denied. It has a lock of its own, under which
// nobody waits for a disk: a keeper that is silent because its ledger cannot be
// written just now has its tasks started elsewhere while they run.
type fates struct {
	mu     sync.Mutex
	of     map[uint64]vouch.Fate // by vouch.Name; Unknown is not in it
	runs   uint32
	ended  uint32
	denied denied
}

// begin takes note that an attempt is about to start; false if it was denied.
// It comes before the first thing that is done of it: none starts after it was
// said that it did not.
func (f *fates) begin(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := vouch.Name(id)
	if _, no := f.denied.names[name]; no {
		return false
	}
	f.put(name, vouch.Runs)
	return true
}

// set takes note of what became of an attempt. Unknown is for one that is
// forgotten, did not start, or was lost with an earlier keeper: it may start
// elsewhere.
func (f *fates) set(id string, fate vouch.Fate) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.put(vouch.Name(id), fate)
}

func (f *fates) put(name uint64, fate vouch.Fate) {
	f.count(f.of[name], -1)
	f.count(fate, 1)
	if fate == vouch.Unknown {
		delete(f.of, name)
		return
	}
	if f.of == nil {
		f.of = map[uint64]vouch.Fate{}
	}
	f.of[name] = fate
}

func (f *fates) count(fate vouch.Fate, by int32) {
	switch fate {
	case vouch.Runs:
		f.runs += uint32(by)
	case vouch.Ended:
		f.ended += uint32(by)
	}
}

// answer tells what is known of all attempts and of those that are named, here
// and in held, which others hold. What is denied so is never begun here.
func (f *fates) answer(names []uint64, held []Status) vouch.Answer {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := vouch.Answer{Running: f.runs, Ended: f.ended, Fates: make([]vouch.Fate, len(names))}
	others := make(map[uint64]vouch.Fate, len(held))
	for _, st := range held {
		switch fate := fateOf(st.State); fate {
		case vouch.Runs:
			a.Running++
			others[vouch.Name(st.ID)] = fate
		case vouch.Ended:
			a.Ended++
			others[vouch.Name(st.ID)] = fate
		}
	}
	for i, n := range names {
		if a.Fates[i] = f.of[n]; a.Fates[i] == vouch.Unknown {
			a.Fates[i] = others[n]
		}
		if a.Fates[i] == vouch.Unknown {
			f.denied.add(n)
		}
	}
	return a
}

func fateOf(s State) vouch.Fate {
	switch s {
	case Starting, Running:
		return vouch.Runs
	case Ended:
		return vouch.Ended
	}
	return vouch.Unknown
}

// errDenied is an ErrLost: whether the attempt ran, here or elsewhere, is not known
// here.
var errDenied error = &remoteError{"the cluster asked for this attempt while the daemon did not answer, was told that it is not here, and may have started it elsewhere", ErrLost}

// mostDenied bounds how many attempts are remembered as denied: those of the
// last few minutes that a daemon may hang, on a node of the largest kind.
const mostDenied = 1 << 14

// denied are attempts that a keeper was asked for by name and did not have. That
// is asked only while the daemon does not answer, and by whom would start them
// elsewhere: a daemon that hung, and wakes, must not start them here. What the
// cluster did not give up gets another attempt.
type denied struct {
	names map[uint64]bool // whether the keepers beside this one deny it as well
	order []uint64        // the oldest first
}

func (d *denied) add(name uint64) {
	if _, ok := d.names[name]; ok {
		return
	}
	if d.names == nil {
		d.names = map[uint64]bool{}
	}
	if len(d.order) >= mostDenied {
		delete(d.names, d.order[0])
		d.order = d.order[1:]
	}
	d.names[name] = false
	d.order = append(d.order, name)
}
