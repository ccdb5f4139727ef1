package scheduler

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// Planner answers what would happen and why something did not. It only reads.
type Planner struct {
	Now    func() time.Time
	Begin  Begin
	Memory func() *Memory // of the engine that decides here, nil: of none
}

// Engine is one that is at a view as the engine that decides would be.
func (p Planner) Engine(v *fsm.View) *Engine {
	e := NewEngine(p.Begin)
	e.Update(v, nil, true)
	if p.Memory != nil {
		e.recall(p.Memory())
	}
	return e
}

// CheckFits refuses a spec of which no node could hold one task even if it
// were empty, and says by how much.
func (p Planner) CheckFits(v *fsm.View, s *api.JobSpec) error {
	need := s.Need()
	part := v.Eligible(s.Partition)
	if err := fitsLimits(v, s); err != nil {
		return err
	}
	nodes, room := 0, 0
	var reasons, not []string
	text := "" // why one does not meet a comparison
	for n := range v.Nodes() {
		if n.State == api.NodeGone || n.VoterOnly {
			continue
		}
		if n.Resources.CPUs == 0 {
			return nil // it has not reported yet: nobody knows
		}
		nodes++
		if unmet := n.Unmet(part, s); unmet != "" {
			if why := n.Incomparable(part, s); why != "" && text == "" {
				text = " (" + n.Name + ": " + why + ")"
			}
			continue
		}
		if why := fsm.Unable(n, s); why != "" {
			not = append(not, n.Name+" "+why)
			continue
		}
		whole := v.Unreserved(n)
		over := cmp.Or(besideReserved(n, whole, whole, need), excess(whole, need))
		if over == "" {
			if room += countMost(whole, need, max(1, s.Gang)-room); room >= max(1, s.Gang) {
				return nil
			}
			continue
		}
		reasons = append(reasons, n.Name+" "+over)
	}
	switch {
	case nodes == 0:
		return nil // a cluster that has no node for work yet: the task waits
	case room > 0:
		return api.Errorf(api.CodeDoesNotFit, "gang: %s of %s are more than the cluster has ever room for: the largest gang of this shape is %d; ask for fewer or smaller tasks", api.Count(s.Gang, "task"), need, room)
	case len(reasons) == 0 && len(not) > 0:
		return api.Errorf(api.CodeDoesNotFit, "no node can run it: %s", strings.Join(not[:min(len(not), 3)], "; "))
	case len(reasons) == 0:
		return api.Errorf(api.CodeDoesNotFit, "no node meets %s%s: see `mesita node ls -o wide` for their attributes", constraintList(s, part), text)
	}
	return api.Errorf(api.CodeDoesNotFit, "no node is large enough for one task: %s; ask for less, or add a larger node", strings.Join(reasons[:min(len(reasons), 3)], "; "))
}

func constraintList(s *api.JobSpec, part *api.Partition) string {
	var out []string
	for _, c := range s.Constraints {
		text := c.String()
		if c.Attr == api.AttrAllowRoot {
			text += " (a node has it that was started with --allow-root)"
		}
		out = append(out, text)
	}
	if part != nil {
		for _, c := range part.Nodes {
			out = append(out, c.String()+" of partition "+part.Path)
		}
	}
	return strings.Join(out, ", ")
}

// countMost is how many tasks fit at once, at most so many.
func countMost(has, need api.Resources, most int) int {
	n := 0
	for n < most && has.Fits(need) {
		has = has.Minus(need)
		n++
	}
	return n
}

// fitsLimits refuses a spec of which the limits of its partition never allow
// one task, or the whole gang.
func fitsLimits(v *fsm.View, s *api.JobSpec) error {
	need := api.AmountsOf(s.Need().Times(max(1, s.Gang)))
	for path := s.Partition; path != ""; path = api.ParentPath(path) {
		p := v.Partition(path)
		if p == nil {
			continue
		}
		for _, most := range []int{p.MaxRunning, p.MaxRunningPerUser} {
			if most > 0 && s.Gang > most {
				return api.Errorf(api.CodeDoesNotFit, "gang: %s start together, and partition %s lets at most %d run (--max-running, --max-running-per-user): ask for fewer, or have an admin raise it", api.Count(s.Gang, "task"), p.Path, most)
			}
		}
		for k, most := range p.Limit.Each {
			if x := need.Of(k); x > most {
				return api.Errorf(api.CodeDoesNotFit, "it needs %s=%s, the limit of partition %s is %s, %s too few: ask for less, or raise the limit", k,
					api.FormatAmount(k, x), p.Path, api.FormatAmount(k, most), api.FormatAmount(k, x-most))
			}
		}
	}
	return nil
}

// excess says by how much need is over what a node has, "" if it is not.
func excess(has, need api.Resources) string {
	short, ok := has.Missing(need)
	if ok {
		return ""
	}
	by := ""
	switch short.Resource {
	case "cpus":
		by = (need.CPUs - has.CPUs).String()
	case "mem":
		by = (need.Mem - has.Mem).String()
	case "memLimit":
		return fmt.Sprintf("lets its tasks together use up to %s, and not %s: raise its --mem-overcommit", short.Have, short.Need)
	case "pins":
		return fmt.Sprintf("can give a task at most %s of its own, and not %s: one always stays for the others", api.Count(has.Pins, "CPU"), short.Need)
	case "disk":
		by = (need.Disk - has.Disk).String()
	case "gpus":
		by = fmt.Sprint(need.GPUs - has.GPUs)
	case "ports":
		return notItsPorts(has, need)
	default:
		return fmt.Sprintf("lacks %s %s (has %s)", short.Resource, short.Need, short.Have)
	}
	return fmt.Sprintf("has %s of %s, %s too few", short.Has(), short.Need, by)
}

// notItsPorts says which ports a task needs that its node may never give.
func notItsPorts(has, need api.Resources) string {
	return fmt.Sprintf("may not give port %s, its ports are %s (add it to its --resources ports=…)", need.Ports.Minus(has.Ports), cmp.Or(has.Ports.String(), "none"))
}

// Explain says why a job or task is in its state.
func (p Planner) Explain(v *fsm.View, id string) (*api.Why, error) {
	return p.ExplainBy(nil, v, id)
}

// ExplainBy is Explain by an engine that has followed the state to that view, and
// so knows for whom room is held since when; nil: by one that recalls what is remembered.
func (p Planner) ExplainBy(e *Engine, v *fsm.View, id string) (*api.Why, error) {
	if t := v.Task(id); t != nil {
		return p.explainTask(e, v, t), nil
	}
	j := v.Job(id)
	if j == nil {
		return nil, api.Errorf(api.CodeNotFound, "no job or task %q: see `mesita ps -a`", id)
	}
	if j.Counts.Pending > 0 {
		for t := range v.PendingTasks(j) {
			return p.explainTask(e, v, t), nil
		}
	}
	why := &api.Why{ID: id, State: j.State.String(), RunAs: j.Spec.RunsAs(), Summary: countsText(v, j)}
	if j.Framework != "" { // each of its tasks runs as it says itself
		why.RunAs, why.Hints = "", []string{"framework " + j.Framework + " decides what of it starts: mesita framework show " + j.Framework}
	}
	if j.Spec.Kind == api.KindService && j.Spec.Tasks() == 0 && j.Counts.Live() == 0 && !j.Stop {
		why.Summary = id + " runs nothing: it is scaled to 0"
		why.Hints = []string{"mesita scale " + id + " 1 starts one task of it"}
	}
	if j.Counts.Finished == j.Counts.Total() {
		return why, nil
	}
	for t := range v.JobTasks(id) {
		if t.State.Final() && t.State != api.TaskFinished {
			why.Hints = append(why.Hints, ended(t))
		} else if text := unseen(v, j, t); text != "" {
			why.Hints = append(why.Hints, t.ID+": "+text)
		}
		if len(why.Hints) == 3 {
			break
		}
	}
	return why, nil
}

// countsText says how many tasks of a job do what; a frozen one does not run.
func countsText(v *fsm.View, j *api.Job) string {
	frozen, state, counts := 0, j.State.String(), ""
	for t := range v.FrozenTasks() {
		if t.Job == j.ID && t.Frozen {
			frozen++
		}
	}
	if frozen > 0 {
		counts = fmt.Sprintf(", %d frozen", frozen)
		if frozen == j.Counts.Live() {
			state = "frozen"
		}
	}
	return fmt.Sprintf("%s is %s: %d running%s, %d starting, %d finished, %d failed, %d stopped", j.ID, state,
		j.Counts.Running-frozen, counts, j.Counts.Starting, j.Counts.Finished, j.Counts.Failed, j.Counts.Stopped)
}

func (p Planner) explainTask(e *Engine, v *fsm.View, t *api.Task) *api.Why {
	why := &api.Why{ID: t.ID, State: t.State.String()}
	j := v.Job(t.Job)
	if j != nil {
		if s := j.SpecFor(t); s != nil {
			why.RunAs = s.RunsAs()
		}
	}
	switch {
	case t.State.Final():
		why.Summary = ended(t)
		if t.Node != "" {
			why.Hints = []string{"mesita logs " + t.ID + " shows what it printed"}
		}
	case t.Frozen:
		why.Summary = fmt.Sprintf("%s is frozen on %s for %s: others were entitled to its cpus; its memory stays", t.ID, t.Node, p.Now().Sub(t.FrozenAt).Round(time.Second))
		if part := v.Partition(t.Partition); part != nil {
			why.Summary += "; it ends" + andAgain(t) + " if that lasts until " + t.FrozenAt.Add(part.FrozenAtMost()).Format("15:04")
		}
		why.Hints = []string{fmt.Sprintf("it continues where it stopped once %s has cpus=%s free; it has %s now", t.Node, t.Thawed().CPUs, v.Free(t.NodeID).CPUs)}
	case t.Leaving():
		why.Summary = fmt.Sprintf("%s is on %s (%s), and was told to leave: others are entitled to what it holds", t.ID, t.Node, t.State.Word())
		why.Hints = []string{"it gets its stop signal at " + t.Leaves.Format("15:04:05") + afterNotice(t)}
		if text := unseen(v, j, t); text != "" {
			why.Hints = append(why.Hints, text)
		}
	case !t.Pending():
		why.Summary = fmt.Sprintf("%s is on %s (%s)", t.ID, t.Node, t.State.Word())
		if t.Desired != api.DesiredRun {
			why.Summary += " and was told to " + t.Desired.String() + ": " + string(t.Reason)
		}
		if text := unseen(v, j, t); text != "" {
			why.Hints = []string{text}
		}
	case j != nil && j.Hold:
		p.explainHeld(v, j, t, why)
	case waits(j, t, p.Now()):
		why.Summary = fmt.Sprintf("%s waits %s before attempt %d; attempt %d ended: %s", t.ID, t.NotBefore.Sub(p.Now()).Round(time.Second),
			t.Attempt, t.Attempt-1, reasonText(t))
	default:
		if o, ok := unready(v, j, t, p.Now()); ok {
			why.Waiting(o)
			break
		}
		p.explainWait(e, v, j, t, why)
	}
	return why
}

// andAgain is what follows the end of an attempt that has to make way.
func andAgain(t *api.Task) string {
	if t.Framework != nil {
		return ", and its framework decides what follows,"
	}
	return " and waits again"
}

// afterNotice is that of an attempt that was told before.
func afterNotice(t *api.Task) string {
	if t.Framework != nil {
		return ", and its framework decides what follows"
	}
	return ", and starts again when there is room; one that has finished by then stays finished"
}

// unseen says what is known of a task whose node cannot be asked, and what will
// become of it; "" if the node can be.
func unseen(v *fsm.View, j *api.Job, t *api.Task) string {
	n := v.Node(t.NodeID)
	if n == nil || t.State.Final() || n.State != api.NodeUnreachable && n.State != api.NodeDown {
		return ""
	}
	text := fmt.Sprintf("%s is %s (%s): that is what was known last", n.Name, n.State, n.Reason)
	switch {
	case n.Away:
		return text
	case t.Framework != nil:
		return text + "; its framework was told, and decides what follows"
	case j != nil && j.Spec.AtMostOnce:
		return text + "; it runs at most once, so it starts elsewhere only if " + n.Name + " was rebooted, or is off for good and removed: mesita node rm --force " + n.Name
	}
	return text
}

func ended(t *api.Task) string {
	return fmt.Sprintf("%s %s: %s", t.ID, t.State.Word(), reasonText(t))
}

func reasonText(t *api.Task) string {
	switch {
	case t.State == api.TaskKilled && t.Reason == api.ReasonStopped && t.Node == "" && t.Attempt > 1 && t.Message != "":
		return fmt.Sprintf("it was stopped before attempt %d; attempt %d ended: %s", t.Attempt, t.Attempt-1, t.Message)
	case t.Message != "":
		return t.Message
	case t.Reason == api.ReasonStopped && t.Signal != "":
		return "it was stopped, and ended by " + t.Signal
	case t.Reason == api.ReasonStopped && t.ExitCode != nil:
		return fmt.Sprintf("it was stopped, and ended with exit code %d", *t.ExitCode)
	case t.ExitCode != nil:
		return fmt.Sprintf("exit code %d", *t.ExitCode)
	case t.Reason != "":
		return string(t.Reason)
	}
	return "no reason was given"
}
