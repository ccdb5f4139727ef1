package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mesita/mesita/cluster/datadir"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/cluster/consensus/disk"
	"github.com/mesita/mesita/fsm"
)

const (
	// checkEntries and checkEvery are how much may be written, and how long
	// after something was, before the voters compare their states again.
	checkEntries = 65_536
	checkEvery   = 10 * time.Minute

	// checkLook is how often the leader looks whether a check is due, and asks
	// for answers that it has not got.
	checkLook = 10 * time.Second

	// answerWithin is how long voters may take to hash their states. When some
	// differ and others have not answered, they are asked checksAgain times
	// before those that did are judged.
	answerWithin = 2 * time.Minute
	checksAgain  = 3

	// askedWithin is how long voters may take when somebody asked for the check:
	// less than a client waits for an answer.
	askedWithin = 20 * time.Second

	// askWhy is how often those that have not answered it are asked why: one that
	// says that it cannot do its part is not waited for.
	askWhy = 2 * time.Second

	// answersKept is how many of its answers a voter remembers.
	answersKept = 4
)

// stateAnswers is what this node found after the last checks.
type stateAnswers struct {
	mu  sync.Mutex
	all []stateAnswer
}

type stateAnswer struct {
	of uint64 // index of the check
	api.StateAnswer
}

func (s *stateAnswers) add(a stateAnswer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, a)
	s.all = s.all[max(0, len(s.all)-answersKept):]
}

func (s *stateAnswers) find(of uint64) (api.StateAnswer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.all {
		if a.of == of {
			return a.StateAnswer, true
		}
	}
	return api.StateAnswer{}, false
}

// answerChecks hashes the state of this node after each check.
func (a *Agent) answerChecks(ctx context.Context) error {
	build := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case v := <-a.store.Checks():
			state, log, err := v.StateHash()
			if err == nil && build == "" {
				build, err = buildOf("/proc/self/exe", a.cfg.Version)
			}
			if err != nil {
				a.log.Warn("hashing the state failed", "index", v.Index(), "err", err)
				continue
			}
			a.found.add(stateAnswer{v.Index(), api.StateAnswer{NodeID: a.self.NodeID, Version: build, State: state, Log: log}})
			a.log.Debug("hashed the state", "index", v.Index(), "state", state, "log", log)
		}
	}
}

// buildOf tells one program from another of the same version, which may write
// the state differently: 0.1.0+ and the start of the hash of its file.
func buildOf(path, version string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("hash this program: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("hash this program: %w", err)
	}
	return version + "+" + hex.EncodeToString(h.Sum(nil)[:6]), nil
}

func (m members) CheckState(ctx context.Context, actor string) (*api.StateCheck, error) {
	l := m.checkLoop()
	l.meta = func() fsm.Meta { return fsm.Meta{At: m.cfg.Now(), Actor: actor} }
	return l.checkNow(ctx)
}

func (m members) StateAnswer(of uint64) (api.StateAnswer, bool) { return m.found.find(of) }

// awaitVerdict ends with an error once this node's state was found to differ
// from that of the other voters.
func (a *Agent) awaitVerdict(ctx context.Context) error {
	w := a.store.Watch(fsm.TableCluster)
	defer w.Close()
	for {
		switch c := a.verdict(); {
		case c == nil:
			if _, _, err := w.Wait(ctx); err != nil {
				return nil
			}
		case othersDecide(c, a.raft.Voters(), a.answers):
			return a.leaveService(ctx, c)
		default:
			a.log.Warn("the state of this node differs from that of the other voters, and it stays in service: without it they are too few to decide anything", "after entry", c.Of)
			if !backoff.Pause(ctx, checkLook) {
				return nil
			}
		}
	}
}

// othersDecide reports whether those that took part in a check, and were not found
// odd, are there and a quorum without the others.
func othersDecide(c *api.StateCheck, voters []string, alive func(id string) bool) bool {
	n := 0
	for _, a := range c.Answers {
		if slices.Contains(voters, a.NodeID) && !slices.Contains(c.Odd, a.NodeID) && alive(a.NodeID) {
			n++
		}
	}
	return n > len(voters)/2
}

// verdict is the check that found this node's state to differ, nil if none did.
// Only an answer of this life counts: the last verdict is still there after the
// node was filled anew.
func (a *Agent) verdict() *api.StateCheck {
	c := a.store.View().StateCheck()
	if c == nil || !slices.Contains(c.Odd, a.self.NodeID) {
		return nil
	}
	if _, mine := a.found.find(c.Of); !mine {
		return nil
	}
	return c
}

// errOdd ends a life of the node whose state is not that of the others.
var errOdd = errors.New("the state of this node differs from that of the other voters")

func (a *Agent) leaveService(ctx context.Context, c *api.StateCheck) error {
	a.log.Error("the state of this node differs from that of the other voters: it is filled anew; its disk or memory may be failing", "after entry", c.Of, "answers", c.Answers)
	if a.raft.IsLeader() {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if err := a.raft.TransferLeadership(ctx); err != nil {
			a.log.Warn("handing the lead over failed", "err", err)
		}
	}
	if err := a.changeSelf(func(n *datadir.Node) { n.Odd = true }); err != nil {
		return err
	}
	return errOdd
}

// putOddAside moves a log whose state is not that of the others away, in place
// of an earlier one. The node has voted, so it votes again once a leader has
// filled it in.
func (a *Agent) putOddAside() error {
	if !a.self.Odd {
		return nil
	}
	aside := a.dir.File("raft.odd")
	if _, err := os.Stat(a.dir.File("raft")); err == nil {
		if err := errors.Join(os.RemoveAll(aside), os.Rename(a.dir.File("raft"), aside), disk.SyncDir(a.dir.Path)); err != nil {
			return fmt.Errorf("put the odd raft log aside: %w", err)
		}
		a.log.Info("the raft log whose state differs from the others' was put aside", "folder", aside)
	} else if !errors.Is(err, os.ErrNotExist) { // it was done
		return err
	}
	return a.changeSelf(func(n *datadir.Node) { n.Odd = false })
}

// checkLoop has the voters compare their states while this node leads.
type checkLoop struct {
	store  *fsm.Store
	voters func() []string
	answer func(ctx context.Context, id string, of uint64) (api.StateAnswer, error)
	alive  func(id string) bool
	why    func(ctx context.Context, id string) (reason string, unwell bool) // a voter does not answer
	meta   func() fsm.Meta
	log    *slog.Logger

	since time.Time // the last check, as this leader saw it; monotonic
	seen  uint64    // its index
	done  bool      // nothing more is expected of it
	again int       // checks made since some differed and others did not answer
}

func (l *checkLoop) Run(ctx context.Context) error {
	l.since = time.Now()
	for backoff.Pause(ctx, checkLook) {
		if err := l.pass(ctx); err != nil && ctx.Err() == nil {
			l.log.Warn("comparing the states of the voters failed; trying again", "err", err)
		}
	}
	return nil
}

// pass makes the next check if one is due, with what the voters found after
// the last.
func (l *checkLoop) pass(ctx context.Context) error {
	v := l.store.View()
	if !v.Does(fsm.StateChecks) {
		return nil
	}
	last := v.StateCheck()
	if last == nil {
		last = &api.StateCheck{}
	}
	if last.Index != l.seen {
		l.seen, l.since, l.done = last.Index, time.Now(), last.Index == 0
	}
	age, written := time.Since(l.since), v.Index()-last.Index
	due := written >= checkEntries || written > 0 && age >= checkEvery
	if l.done && !due {
		return nil
	}
	next := &fsm.StateCheck{Meta: l.meta(), Of: last.Index}
	all, late := true, age >= answerWithin
	if last.Index != 0 {
		next.Answers, all = l.collect(ctx, last.Index)
	}
	switch {
	case !differ(next.Answers):
		if last.Split && !late && l.missing(last, next.Answers) { // nothing could be settled
			return nil
		}
		l.again, l.done = 0, all || late
		due = due || l.done && (last.Split || len(last.Odd) > 0)
	case (last.Split || len(last.Odd) > 0) && !late: // that is known
		return nil
	case all || l.again >= checksAgain:
		due = true
	case late: // the one that did not answer may make a majority
		l.again++
		due, next.Of, next.Answers = true, 0, nil
	default:
		return nil
	}
	if !due {
		return nil
	}
	_, err := l.check(ctx, next)
	return err
}

// collect asks all voters what they found after a check; all is false if one
// that is there has not answered.
func (l *checkLoop) collect(ctx context.Context, of uint64) (answers []api.StateAnswer, all bool) {
	all = true
	for _, id := range l.voters() {
		switch a, err := l.answer(ctx, id, of); {
		case err == nil:
			answers = append(answers, a)
		case l.alive(id):
			all = false
		}
	}
	return answers[:min(len(answers), fsm.MaxStateAnswers)], all
}

// missing reports whether a voter that is part of a split has not answered.
func (l *checkLoop) missing(split *api.StateCheck, answers []api.StateAnswer) bool {
	voters := l.voters()
	return slices.ContainsFunc(split.Answers, func(a api.StateAnswer) bool {
		return slices.Contains(voters, a.NodeID) && !slices.ContainsFunc(answers, func(b api.StateAnswer) bool { return b.NodeID == a.NodeID })
	})
}

// checkNow has all voters hash their state, waits for their answers as long as
// ctx and askedWithin allow, and compares them.
func (l *checkLoop) checkNow(caller context.Context) (*api.StateCheck, error) {
	ctx, cancel := context.WithTimeout(caller, askedWithin)
	defer cancel()
	first, err := l.check(ctx, &fsm.StateCheck{Meta: l.meta()})
	if err != nil {
		return nil, err
	}
	looked := time.Now()
	for {
		answers, all := l.collect(ctx, first.Index)
		if all {
			return l.check(ctx, &fsm.StateCheck{Meta: l.meta(), Of: first.Index, Answers: answers})
		}
		if time.Since(looked) >= askWhy {
			looked = time.Now()
			if unwell, err := l.unanswered(caller, answers); unwell {
				return nil, err
			}
		}
		if !backoff.Pause(ctx, 100*time.Millisecond) {
			_, err := l.unanswered(context.WithoutCancel(caller), answers)
			return nil, err
		}
	}
}

// unanswered names the voters that are there and have not told their state, and
// why; unwell is true if none of them can.
func (l *checkLoop) unanswered(ctx context.Context, answers []api.StateAnswer) (unwell bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var missing []string
	v, well := l.store.View(), 0
	for _, id := range l.voters() {
		if !l.alive(id) || slices.ContainsFunc(answers, func(a api.StateAnswer) bool { return a.NodeID == id }) {
			continue
		}
		reason, unwell := l.why(ctx, id)
		if !unwell {
			well++
		}
		missing = append(missing, nodeName(v, id)+" ("+reason+")")
	}
	return well == 0 && len(missing) > 0, api.Errorf(api.CodeTimeout, "the states of only %s are known, and not that of %s: see `mesita cluster show` and try again", api.Count(len(answers), "voter"), strings.Join(missing, ", "))
}

func (l *checkLoop) check(ctx context.Context, c *fsm.StateCheck) (*api.StateCheck, error) {
	v, err := l.store.Do(ctx, c)
	if err != nil {
		return nil, err
	}
	return v.(*api.StateCheck), nil
}

func differ(answers []api.StateAnswer) bool {
	for i := range answers {
		for k := range answers[:i] {
			if answers[i].Version == answers[k].Version && !answers[i].Same(&answers[k]) {
				return true
			}
		}
	}
	return false
}

func (a *Agent) checkLoop() *checkLoop {
	return &checkLoop{store: a.store, voters: a.raft.Voters, alive: a.answers, answer: a.stateOf, why: a.whyNoState, log: a.log,
		meta: func() fsm.Meta { return fsm.Meta{At: a.cfg.Now(), Actor: "check"} }}
}

func (a *Agent) stateOf(ctx context.Context, id string, of uint64) (api.StateAnswer, error) {
	if id == a.self.NodeID {
		if found, ok := a.found.find(of); ok {
			return found, nil
		}
		return api.StateAnswer{}, api.Errorf(api.CodeNotFound, "not hashed yet")
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var found api.StateAnswer
	err := a.peers.call(ctx, id, http.MethodGet, "/v1/internal/state?"+url.Values{"of": {strconv.FormatUint(of, 10)}}.Encode(), nil, &found)
	if err == nil && found.NodeID != id {
		err = fmt.Errorf("node %s answers for %q", id, found.NodeID)
	}
	return found, err
}

// whyNoState is why a voter does not tell its state, as it says itself, and
// whether that is that it cannot do its part.
func (a *Agent) whyNoState(ctx context.Context, id string) (reason string, unwell bool) {
	if id == a.self.NodeID {
		return "this node, which leads, is not done with it", false
	}
	h, unwell, err := a.healthOf(ctx, id)
	switch {
	case err != nil:
		return err.Error(), false
	case h.Reason != "":
		return h.Reason, unwell
	}
	return "it is well, and not done with it", unwell
}

// healthOf is what a node says of itself.
func (a *Agent) healthOf(ctx context.Context, id string) (h api.Health, unwell bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+id+"/v1/health", nil)
	if err != nil {
		return h, false, err
	}
	res, err := a.peers.transport(id).RoundTrip(req)
	if err != nil {
		return h, false, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, api.MaxAnswer))
	if err == nil {
		err = api.DecodeLenient(b, &h)
	}
	return h, res.StatusCode == http.StatusServiceUnavailable, err
}
