package main

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/chaos/stage"
	"github.com/mesita/mesita/integration/lab"
)

// attack is one way in, or one that keeps others out.
type attack struct {
	name, does string
	do         func(*run)
	apart      bool // it stops nodes itself: nothing else is watched
	restarts   bool // it stops the worker, which is not watched
	crowded    bool // from so many addresses that a new one may be kept out
}

// all is every attack: a new one is part of the command, the tests and
// scripts/soak by being here.
var all = []*attack{
	{name: "calm", does: "nothing, to compare with", do: func(r *run) { lab.Pause(r.ctx, r.o.flood) }},
	{name: "strangers", does: "every route, without credentials, with headers and certificates that claim to be somebody", do: (*run).strangers},
	{name: "rights", does: "jobs of a partition that does not name one are taken over, values are read", do: (*run).rights},
	{name: "stolen", does: "keys of a removed node and of a worker, at every kind of node", do: (*run).stolen},
	{name: "alone", does: "the key of a removed node, at a worker that can ask nobody", do: (*run).alone, apart: true},
	{name: "guesses", does: "wrong tokens of both kinds, while others come with right ones", do: (*run).guesses},
	{name: "dev", does: "pages of others and local users at a node of `mesita dev --http`", do: (*run).dev},
	{name: "flood-hello", does: "TLS handshakes that are begun and given up, from one address", do: (*run).floodHello},
	{name: "flood-hellos", does: "the same from 2,000 addresses", do: (*run).floodHellos, crowded: true},
	{name: "flood-idle", does: "TLS connections of one address that say nothing", do: (*run).floodIdle},
	{name: "flood-slow", does: "requests of one address that come byte by byte", do: (*run).floodSlow},
	{name: "flood-join", does: "bodies of joiners without end, on streams of HTTP/2", do: (*run).floodJoin},
	{name: "flood-resets", does: "streams of HTTP/2 that are opened and reset", do: (*run).floodResets},
	{name: "flood-streams", does: "streams of events of one viewer, while a worker starts again", do: (*run).floodStreams, restarts: true},
	{name: "flood-socket", does: "connections of a local user to the node's socket", do: (*run).floodSocket},
}

// run is one cluster that is attacked: voters, a worker, and the key of a node
// that was removed.
type run struct {
	o       options
	ctx     context.Context
	stage   *stage.Stage
	lab     *lab.Lab
	rng     *rand.Rand
	voters  []*lab.Node
	worker  *lab.Node
	removed *caller                  // who has the key of a node that was removed; see evil
	machine *machine                 // what all of it runs on
	took    map[string]time.Duration // in which a node said how it is 99 times of 100, by the way, in the worst attack
	worst   time.Duration            // for any answer
	most    int64                    // bytes of a daemon
}

func newRun(ctx context.Context, s *stage.Stage, o options) *run {
	return &run{o: o, ctx: ctx, stage: s, rng: rand.New(rand.NewPCG(o.seed, 1)), took: map[string]time.Duration{}}
}

func (r *run) must(err error) {
	if err != nil {
		r.stage.Fatalf("%v", err)
	}
}

func (r *run) all() {
	r.stage.Say("begin", "seed %d, %v of %s", r.o.seed, r.o.length, namesOf(r.o.attacks))
	r.form()
	m, err := onlook(r.lab.Dir)
	r.must(err)
	defer m.end()
	r.machine = m
	end := time.Now().Add(r.o.length)
	for first := true; first || time.Now().Before(end); first = false {
		for _, i := range r.rng.Perm(len(r.o.attacks)) {
			if r.ctx.Err() != nil {
				return
			}
			a := r.o.attacks[i]
			r.stage.Say("attack", "%s: %s", a.name, a.does)
			if a.apart {
				a.do(r)
			} else {
				r.watched(a)
			}
		}
	}
	r.stage.Say("end", "the largest daemon had %d MB; 99 of 100 times a node said how it is within %v, always within %v", r.most>>20, r.took, r.worst)
}

func (r *run) form() {
	r.lab = lab.New(r.stage, r.o.bin, 3)
	r.lab.Form()
	r.voters = r.lab.Nodes
	r.worker = r.lab.AddNode(4)
	r.worker.Launch("join", r.voters[0].IP, "--token", r.voters[0].Token(api.TokenRequest{Kind: api.TokenJoin}))
	r.worker.AwaitReady()
}
