package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/mesita/mesita/cluster/datadir"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/cluster/ages"
	"github.com/mesita/mesita/gossip"
)

// errNewAge ends a life of the node that is to continue in another age of its
// cluster.
var errNewAge = errors.New("this node continues in another age of the cluster")

const (
	rejoinTries = 3               // at the start, before the node begins as it was
	ageLook     = 2 * time.Second // between two looks at whether this node is in the right age
	ageAsk      = 15 * time.Second
	// ageSilence is how long a worker goes without a voter of its own age
	// before it follows a later one.
	ageSilence = 10 * time.Second
)

// enterAge finishes a change of age that was cut short, and makes the one that
// was asked for if the other age answers. It runs before anything of the old
// age is opened.
func (a *Agent) enterAge(ctx context.Context) error {
	a.line = a.self.Ages
	a.findSeeds()
	if err := errors.Join(a.putOddAside(), a.eraseDemoted()); err != nil {
		return err
	}
	if a.cfg.Rejoin && !a.self.Refill {
		for try := range rejoinTries {
			line, err := a.chooseAge(a.ask(ctx, a.knownAddrs()))
			if err != nil {
				return err
			}
			if line != nil {
				if err := a.adopt(line); err != nil {
					return err
				}
				break
			}
			if try == rejoinTries-1 {
				a.log.Warn("no node of another age of the cluster answers yet: this node starts in its own, and changes once one does; --seed ADDRESS says where one is", "asked", a.knownAddrs())
			} else if !backoff.Pause(ctx, ageLook) {
				return context.Cause(ctx)
			}
		}
	}
	if !a.self.Refill {
		return nil
	}
	a.line, a.cfg.Rejoin = a.self.Ages, false
	return a.putRaftAside()
}

// adopt notes the age that this node is part of from its next life on, and that
// its log is not.
func (a *Agent) adopt(line ages.Line) error {
	return a.changeSelf(func(n *datadir.Node) { n.Ages, n.Refill = line, true })
}

// putRaftAside moves the log of the former age away; that of the present one
// comes from its leader. Nothing is lost if it is cut short: it is done again.
func (a *Agent) putRaftAside() error {
	aside := a.dir.File("raft.bak-" + a.cfg.Now().UTC().Format("20060102T150405.000Z"))
	err := os.Rename(a.dir.File("raft"), aside)
	switch {
	case errors.Is(err, os.ErrNotExist): // it was done, or never voted
	case err != nil:
		return fmt.Errorf("put the raft log of the former age aside: %w", err)
	default:
		a.log.Info("the raft log of the former age was put aside", "folder", aside)
	}
	if err := os.Remove(a.dir.File(recoveredFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return a.changeSelf(func(n *datadir.Node) { n.Refill, n.Raft = false, nil }) // it has not voted in this age
}

func withPorts(addrs []string) []string {
	out := make([]string, len(addrs))
	for i := range addrs {
		out[i] = withPort(addrs[i])
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// ask asks the nodes at some addresses at the same time; who does not answer is
// left out.
func (a *Agent) ask(ctx context.Context, addrs []string) []told {
	answers := make([]told, len(addrs))
	var wg sync.WaitGroup
	for i, addr := range addrs {
		wg.Go(func() {
			if t, err := askAge(ctx, a.certs, a.line, addr); err == nil && t.Node != a.self.Name {
				answers[i] = t
			}
		})
	}
	wg.Wait()
	return slices.DeleteFunc(answers, func(t told) bool { return t.addr == "" })
}

// chooseAge is the age that this node is to continue in after it was told to change,
// nil as long as none but its own answers. Between two that know nothing of each
// other the operator has to decide.
func (a *Agent) chooseAge(answers []told) (ages.Line, error) {
	var best told
	for _, t := range answers {
		switch {
		case a.line.To(t.line) == ages.Same || a.line.To(t.line) == ages.Earlier:
		case best.line == nil || best.line.To(t.line) == ages.Later:
			best = t
		case best.line.To(t.line) == ages.Apart:
			return nil, &api.Error{Code: api.CodeConflict, Field: "seed", Message: fmt.Sprintf("the nodes %s (at %s) and %s (at %s) are of two ages of the cluster that began apart: say with --rejoin --seed ADDRESS which of them continues",
				best.Node, best.addr, t.Node, t.addr)}
		}
	}
	return best.line, nil
}

// followAge notices that the cluster continues in another age. A voter is told so
// and stays: whether what it holds may be given up is for the operator to say. A
// worker holds nothing, and follows once no voter of its own age answers.
func (a *Agent) followAge(ctx context.Context) error {
	var alone, asked time.Time // since when without a leader; when others were asked
	for backoff.Pause(ctx, ageLook) {
		now := time.Now()
		switch {
		case a.fed.Load(), a.leaderID() != "": // to ask for the leader costs a worker a request
			alone = time.Time{}
		case alone.IsZero():
			alone = now
		}
		due := a.cfg.Rejoin || !alone.IsZero() && now.Sub(alone) >= ageSilence || a.voterMissing()
		if !due || now.Sub(asked) < ageAsk && !a.cfg.Rejoin {
			continue
		}
		asked = now
		answers := a.ask(ctx, a.knownAddrs())
		for _, t := range answers {
			_ = a.ages.compare(t.Node, t.line.String()) // it remembers, and says so
		}
		line, err := a.nextAge(answers, !alone.IsZero())
		if err != nil {
			a.log.Error("this node does not know in which age of the cluster to continue", "err", err)
		}
		if line == nil {
			continue
		}
		a.log.Warn("this node continues in another age of the cluster", "age", line.ID(), "recovered on", line[len(line)-1].Node)
		if err := a.adopt(line); err != nil {
			return err
		}
		return errNewAge
	}
	return nil
}

// nextAge is the age to change to, nil = stay.
func (a *Agent) nextAge(answers []told, alone bool) (ages.Line, error) {
	if a.cfg.Rejoin {
		return a.chooseAge(answers)
	}
	if !alone || slices.Contains(a.raft.Voters(), a.self.NodeID) {
		return nil, nil
	}
	later := answers[:0:0]
	for _, t := range answers {
		switch a.line.To(t.line) {
		case ages.Same:
			if t.mayVote() {
				return nil, nil
			}
		case ages.Later:
			later = append(later, t)
		}
	}
	return a.chooseAge(later)
}

// voterMissing reports whether gossip does not see one of the voters, as it is if
// that one continued without this node.
func (a *Agent) voterMissing() bool {
	alive := map[string]bool{a.self.NodeID: true}
	for _, m := range a.gossip.Load().Members() {
		alive[m.ID] = m.State == gossip.Alive || m.State == gossip.Suspect
	}
	voters := a.raft.Voters()
	return slices.Contains(voters, a.self.NodeID) && slices.ContainsFunc(voters, func(id string) bool { return !alive[id] })
}
