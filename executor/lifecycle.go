package executor

// state is how far an attempt is on this node. What happens to it, and what is
// done then, is the table below, and nowhere else: see happen.
type state uint8

const (
	noting    state = iota // the journal is told, and nothing was done yet
	supplying              // its program is looked for, or fetched
	unsure                 // by the journal it was about to start, and the keeper is asked
	held                   // it was never started, and waits to hear that it still should be
	rebooted               // it ran before a reboot, and waits to be started again
	starting               // the keeper was asked to start it
	quitting               // the same, and it is to stop as soon as it runs
	dying                  // the same, and it is to be killed
	over                   // it has ended, and the answer that it started is still to come
	recalled               // by the journal it runs, and the keeper is asked
	running                // it has a process
	stopping               // it was sent its stop signal, or will be once it is thawed
	killing                // it was killed, and is again until it ends
	done                   // its end is known, and the cluster is told
	acked                  // the cluster knows
	states                 // how many there are
)

// event is what an attempt hears of.
type event uint8

const (
	written       event = iota // the journal has it
	unwritten                  // it cannot be started: the journal or the disk fails
	supplied                   // its program is here
	unsupplied                 // its program cannot be had
	started                    // the keeper started it
	failed                     // the keeper did not
	spoiled                    // the keeper was not asked: its program is damaged here
	vanished                   // the keeper that was asked died, and so did what it may have started, or it does not have it
	foundStarting              // the keeper is about to start it
	foundRunning               // the keeper runs it
	missing                    // the keeper does not know it
	exited                     // its process ended
	keeperLost                 // its keeper died with it
	told                       // the cluster wants it to run
	stop                       // it is to end, with the time that it is given
	kill                       // it is to end at once
	overdue                    // that time is over, or a kill showed no effect
	acknowledged               // the cluster has its final status
	events                     // how many there are
)

// effect is what is done of an event, in the order of the list.
type effect uint8

const (
	note     effect = iota // write it to the journal, anew
	supply                 // look for its program, then supplied or fetch it
	refetch                // fetch its program, which is damaged here
	launch                 // ask the keeper to start it
	run                    // take note that it runs, and tell
	keepEnd                // keep its end until the answer that it started
	blame                  // keep why it is to end
	cancel                 // do not ask the keeper any more, if it was not asked yet
	wait                   // give it its time to stop: its program may never begin
	signal                 // send the stop signal, and give it its time from then on
	slay                   // kill it, and wait whether that has an effect
	finish                 // it ended, for the reason that it was to end or that the event brings
	exit                   // it ended, as the keeper tells
	endEarly               // it ended, as was kept
	lose                   // it ended with its keeper
	forget                 // the keeper need not keep its end
	orphan                 // kill the process, which nobody wants
	ack                    // the journal need not keep its end
)

// step is what an event makes of a state.
type step struct {
	to state
	do []effect
}

// next is what an event makes of a state. Without ok the two cannot meet.
func next(s state, ev event) (to step, ok bool) {
	if ev >= events || s >= states {
		return step{}, false
	}
	to, ok = lifecycle[s][ev]
	return to, ok
}

func to(s state, do ...effect) step { return step{s, do} }

// lifecycle has each pair that can be. Where the state stays and nothing is done
// the event comes too late, or says what is known. It is never changed.
var lifecycle = [states]map[event]step{
	noting: {
		written: to(supplying, supply), unwritten: to(done, finish), stop: to(done, blame, finish), kill: to(done, blame, finish),
		foundStarting: to(starting, launch), foundRunning: to(running, run), exited: to(done, exit), keeperLost: to(done, lose),
		missing: to(noting), told: to(noting),
	},
	supplying: {
		supplied: to(starting, launch), unsupplied: to(done, finish), stop: to(done, blame, finish), kill: to(done, blame, finish),
		foundStarting: to(starting, launch), foundRunning: to(running, run), exited: to(done, exit), keeperLost: to(done, lose),
		missing: to(supplying), told: to(supplying),
	},
	unsure: {
		foundStarting: to(starting, launch), foundRunning: to(running, run), exited: to(done, exit), keeperLost: to(done, lose), missing: to(held),
		stop: to(done, blame, finish), kill: to(done, blame, finish), told: to(unsure),
	},
	held: {
		told: to(supplying, supply), stop: to(done, blame, finish), kill: to(done, blame, finish),
		foundStarting: to(starting, launch), foundRunning: to(running, run), exited: to(done, exit), keeperLost: to(done, lose), missing: to(held),
	},
	rebooted: {
		told: to(noting, note), stop: to(done, blame, finish), kill: to(done, blame, finish),
		foundStarting: to(starting, launch), foundRunning: to(running, run), exited: to(rebooted, forget), keeperLost: to(rebooted, forget), missing: to(rebooted),
	},
	starting: {
		started: to(running, run), failed: to(done, finish), spoiled: to(supplying, refetch), vanished: to(done, lose),
		exited: to(over, keepEnd), keeperLost: to(over, keepEnd), stop: to(quitting, blame, cancel, wait), kill: to(dying, blame, cancel, slay),
		foundStarting: to(starting), foundRunning: to(starting), missing: to(starting), told: to(starting), written: to(starting), supplied: to(starting), unsupplied: to(starting), unwritten: to(starting),
	},
	quitting: {
		started: to(stopping, run, signal), failed: to(done, finish), spoiled: to(done, finish), vanished: to(done, lose),
		exited: to(over, keepEnd), keeperLost: to(over, keepEnd), stop: to(quitting), kill: to(dying, slay), overdue: to(dying, slay),
		foundStarting: to(quitting), foundRunning: to(quitting), missing: to(quitting), told: to(quitting), written: to(quitting), supplied: to(quitting), unsupplied: to(quitting), unwritten: to(quitting),
	},
	dying: {
		started: to(killing, run, slay), failed: to(done, finish), spoiled: to(done, finish), vanished: to(done, lose),
		exited: to(over, keepEnd), keeperLost: to(over, keepEnd), stop: to(dying), kill: to(dying, slay), overdue: to(dying, slay),
		foundStarting: to(dying), foundRunning: to(dying), missing: to(dying), told: to(dying), written: to(dying), supplied: to(dying), unsupplied: to(dying), unwritten: to(dying),
	},
	over: {
		started: to(done, run, endEarly), failed: to(done, finish), spoiled: to(done, finish), vanished: to(done, lose),
		exited: to(over, keepEnd), keeperLost: to(over, keepEnd), stop: to(over, blame), kill: to(over, blame), overdue: to(over),
		foundStarting: to(over), foundRunning: to(over), missing: to(over), told: to(over), written: to(over), supplied: to(over), unsupplied: to(over), unwritten: to(over),
	},
	recalled: {
		foundStarting: to(starting, launch), foundRunning: to(running, run), exited: to(done, exit), keeperLost: to(done, lose), missing: to(done, lose),
		stop: to(stopping, blame, signal), kill: to(killing, blame, slay), told: to(recalled),
	},
	running: {
		exited: to(done, exit), keeperLost: to(done, lose), missing: to(done, lose), stop: to(stopping, blame, signal), kill: to(killing, blame, slay),
		foundStarting: to(running), foundRunning: to(running), told: to(running),
		started: to(running), failed: to(running), spoiled: to(running), vanished: to(running), written: to(running), supplied: to(running), unsupplied: to(running), unwritten: to(running),
	},
	stopping: {
		exited: to(done, exit), keeperLost: to(done, lose), missing: to(done, lose), overdue: to(killing, slay), kill: to(killing, slay), stop: to(stopping),
		foundStarting: to(stopping), foundRunning: to(stopping), told: to(stopping),
		started: to(stopping), failed: to(stopping), spoiled: to(stopping), vanished: to(stopping), written: to(stopping), supplied: to(stopping), unsupplied: to(stopping), unwritten: to(stopping),
	},
	killing: {
		exited: to(done, exit), keeperLost: to(done, lose), missing: to(done, lose), overdue: to(killing, slay), kill: to(killing, slay), stop: to(killing),
		foundStarting: to(killing), foundRunning: to(killing), told: to(killing),
		started: to(killing), failed: to(killing), spoiled: to(killing), vanished: to(killing), written: to(killing), supplied: to(killing), unsupplied: to(killing), unwritten: to(killing),
	},
	done: {
		acknowledged: to(acked, ack), foundStarting: to(done, orphan), foundRunning: to(done, orphan),
		exited: to(done), keeperLost: to(done), // until the cluster knows of the end, the keeper can tell
		started: to(done), failed: to(done), spoiled: to(done), vanished: to(done), written: to(done), supplied: to(done), unsupplied: to(done), unwritten: to(done),
		missing: to(done), told: to(done), stop: to(done), kill: to(done), overdue: to(done),
	},
	acked: {
		acknowledged: to(acked), foundStarting: to(acked, orphan), foundRunning: to(acked, orphan), exited: to(acked, forget), keeperLost: to(acked, forget),
		started: to(acked), failed: to(acked), spoiled: to(acked), vanished: to(acked), written: to(acked), supplied: to(acked), unsupplied: to(acked), unwritten: to(acked),
		missing: to(acked), told: to(acked), stop: to(acked), kill: to(acked), overdue: to(acked),
	},
}

// ended reports whether an attempt's end is known.
func (s state) ended() bool { return s >= done }

// hasProcess reports whether an attempt is known to have one.
func (s state) hasProcess() bool { return s >= running && s <= killing }

var (
	stateNames = [states]string{"noting", "supplying", "unsure", "held", "rebooted", "starting", "quitting", "dying", "over", "recalled", "running", "stopping", "killing", "done", "acked"}
	eventNames = [events]string{"written", "unwritten", "supplied", "unsupplied", "started", "failed", "spoiled", "vanished", "foundStarting", "foundRunning", "missing",
		"exited", "keeperLost", "told", "stop", "kill", "overdue", "acknowledged"}
)

func (s state) String() string { return stateNames[s] }
func (v event) String() string { return eventNames[v] }
