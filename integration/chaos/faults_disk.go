package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/chaos/record"
	"github.com/mesita/mesita/integration/chaos/verdict"
	"github.com/mesita/mesita/integration/lab"
)

// sayWithin is how long a node mostly takes to serve, or to say why it will not;
// one that has to wait for others takes longer.
const sayWithin = 10 * time.Second

func diskFull(r *run, t *told) func() {
	n := r.someone()
	if n == nil {
		return nil
	}
	t.say("%s", n.Name)
	d := r.disks[n]
	over := r.hit(excusesNothing, n)
	r.must(d.Fill())
	return func() { _ = os.Remove(d.Ballast()); over() } // a power cut may have lost it
}

// diskHangs is a disk that answers no write, as one behind a lost path.
func diskHangs(r *run, t *told) func() {
	n := r.someone()
	if n == nil {
		return nil
	}
	t.say("%s", n.Name)
	over := r.hit(excusesNothing, n)
	r.must(r.disks[n].Hang())
	return func() { r.must(r.disks[n].Answer()); over() }
}

// failing is a disk that fails in some way until the machine is started anew.
//
// As an ext4 is given up, fdatasync may say that all is well of what is lost: it
// waits for a transaction that is gone already, a few milliseconds before the
// file system refuses writes (seen with a loop of fdatasync in 4 of 150 tries,
// Linux 6.18). A voter may end then and name its log; one that continues with
// something else is found at the end.
func failing(how func(*lab.Disk) error) func(*run, *told) func() {
	return func(r *run, t *told) func() {
		n := r.someone()
		if n == nil {
			return nil
		}
		t.say("%s", n.Name)
		mended := r.hit(excusesNothing, n)
		r.must(how(r.disks[n]))
		return func() {
			over := r.hit(record.Silent, n)
			r.powerCut(n)
			// It says so at once. Others may be away, so that it cannot serve yet.
			_ = r.startOrRefill(n, sayWithin)
			mended()
			over()
		}
	}
}

// awaitStart starts a node and waits until it serves or ended, for as long as
// that; it tells what it said then.
func (r *run) awaitStart(n *lab.Node, wait time.Duration) (done, ended bool, words string) {
	from := logSize(n)
	n.Launch("start")
	done = lab.Until(wait, func() bool { return n.Ready() || n.Ended() })
	log, err := os.ReadFile(n.Dir + ".log")
	r.must(err)
	return done, n.Ended(), string(log[from:])
}

// flipped turns one bit of a stopped voter's log around. Either nothing comes of
// it, or the node says what to do; a state that is another is found at the end.
func flipped(r *run, t *told) func() {
	n := r.follower()
	if n == nil {
		return nil
	}
	over := r.hit(record.Away, n)
	n.Terminate()
	path := filepath.Join(n.Dir, "raft", "raft.db")
	b, err := os.ReadFile(path)
	r.must(err)
	at := r.rng.IntN(len(b) * 8)
	b[at/8] ^= 1 << (at % 8)
	r.must(errors.Join(os.WriteFile(path, b, 0o600), r.disks[n].Sync()))
	t.say("%s, bit %d of byte %d of %d", n.Name, at%8, at/8, len(b))
	return func() {
		defer over()
		if !r.startOrRefill(n, wellWithin) {
			r.stage.Errorf("%s neither serves nor ended %v after its start", n.Name, wellWithin)
		}
	}
}

// startOrRefill starts a node whose log may be damaged, which it says then, and
// reports whether it served or ended in time.
func (r *run) startOrRefill(n *lab.Node, wait time.Duration) (done bool) {
	done, ended, words := r.awaitStart(n, wait)
	if !ended {
		return done
	}
	if !strings.Contains(words, logDamaged) {
		r.stage.Errorf("%s ended, and does not name what is damaged: %s", n.Name, words)
	}
	r.refill(n)
	return done
}

// refilled does what a node asks for that ended since its log is damaged; false if
// it did not say so. Only once the other nodes answer does it look at all of it.
func (r *run) refilled(n *lab.Node) bool {
	if !strings.Contains(lastLog(n), logDamaged) {
		return false
	}
	r.refill(n)
	return true
}

// logDamaged is what a node says of a log that it cannot read.
const logDamaged = "raft.db is damaged"

// refill does what the node says of a damaged log.
func (r *run) refill(n *lab.Node) {
	r.stage.Say("refill", "%s", n.Name)
	r.must(errors.Join(os.Rename(filepath.Join(n.Dir, "raft"), filepath.Join(n.Dir, fmt.Sprint("raft.damaged-", time.Now().UnixNano()))), r.disks[n].Sync()))
	n.Launch("start")
}

// lostLog is a power cut after which one voter's log is gone, when only that
// voter and the leader had what was acknowledged last.
func lostLog(r *run, t *told) func() {
	leader := r.leader()
	all := r.followers(leader, r.o.voters/2+1)
	if all == nil {
		return nil
	}
	lost, behind := all[0], all[1:]
	t.say("%s; %s had not what was acknowledged last", lost.Name, names(behind))
	over := r.hit(record.Away, r.nodes...)
	for _, n := range behind {
		n.Terminate()
	}
	r.acknowledge(leader, 10)
	r.crowd.Halt() // no client waits while there is no quorum
	rest := r.others(behind...)
	for _, n := range rest {
		n.Terminate()
	}
	r.must(errors.Join(os.Remove(filepath.Join(lost.Dir, "raft", "raft.db")), r.disks[lost].Sync()))
	for _, n := range append(behind, lost) {
		n.Launch("start")
	}
	return func() {
		for _, n := range append(behind, lost) {
			var h api.Health
			if err := n.Call("GET", "/v1/health", nil, &h); err == nil && h.Leader != "" {
				r.stage.Errorf("%s leads without what was acknowledged, as %s says", h.Leader, n.Name)
			}
		}
		for _, n := range rest {
			if n != lost {
				n.Launch("start")
			}
		}
		over()
		r.well()
		r.crowd.Work(r.ctx)
	}
}

// staleCopy is a voter whose disk goes back to what it was before the newest
// entries, when only it and the leader had those.
func staleCopy(r *run, t *told) func() {
	leader := r.leader()
	all := r.followers(leader, r.o.voters/2+1)
	if all == nil {
		return nil
	}
	old, behind := all[0], all[1:]
	t.say("%s; %s had not what was acknowledged last", old.Name, names(behind))
	over := r.hit(record.Away, append(behind, old, leader)...)
	old.Terminate()
	raft, aside := filepath.Join(old.Dir, "raft"), filepath.Join(old.Dir, "raft.backup")
	r.must(sh("cp", "-a", raft, aside))
	old.Launch("start")
	r.well()
	for _, n := range behind {
		n.Terminate()
	}
	r.acknowledge(leader, 10)
	old.Terminate()
	r.must(os.RemoveAll(raft))
	r.must(errors.Join(os.Rename(aside, raft), r.disks[old].Sync()))
	leader.Kill()
	for _, n := range append(behind, old) {
		n.Launch("start")
	}
	return func() {
		leader.Launch("start")
		over()
		r.well()
	}
}

// acknowledge submits batches that no client knows of and notes the promises.
func (r *run) acknowledge(n *lab.Node, count int) {
	for range count {
		r.asked++
		p := &verdict.Promise{Job: fmt.Sprint("sure-", r.asked), Codes: []int{0}, Silent: true}
		r.lab.Await(wellWithin, "a write to be acknowledged", func() bool {
			return n.Call("POST", "/v1/jobs", map[string]any{"kind": "batch", "name": p.Job, "cpus": 0.01, "mem": "8MiB", "command": []string{"/bin/true"}}, nil) == nil
		})
		p.Acked = true
		r.crowd.Promise(p)
	}
}
