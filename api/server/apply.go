package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
)

const applyPath = "/v1/apply"

// kindPartition is the kind of a partition in the answer; those of jobs are theirs.
const kindPartition = "partition"

// applying is a request to change partitions and jobs together, as it is decided on.
type applying struct {
	*call
	dry    bool
	in     api.ApplyRequest
	is     *fsm.View // as things are
	shall  *fsm.View // with the partitions as they shall be
	planOn *fsm.View // as things are, but for what is to be uploaded before
	cmd    *fsm.ApplyAll
	lacks  map[string][]string // of which job, digests that are not there yet
	ended  []string            // batches that would run again, which is not asked for
	answer api.ApplyAnswer
}

// applyAll makes partitions and jobs be as the body says, or refuses all of it. Rights
// are asked for each by itself, as it is and as it shall be.
func applyAll(c *call) (any, error) {
	is := c.Store.View()
	a := &applying{call: c, dry: c.Query.Flag("dry_run"), is: is, planOn: is, cmd: &fsm.ApplyAll{Meta: c.Meta()}, lacks: map[string][]string{}, answer: api.ApplyAnswer{Items: []api.Applied{}}}
	if c.Query.Err != nil {
		return nil, c.Query.Err
	}
	if err := c.Decode(&a.in); err != nil {
		return nil, err
	}
	if !a.is.Does(fsm.AppliedWhole) {
		return nil, &api.Error{Code: api.CodeConflict, Field: api.FieldLevel, Message: fmt.Sprintf("to change several together needs level %d of the cluster, which is at level %d: change one after the other, or upgrade the nodes first that `mesita cluster level` names",
			fsm.AppliedWhole.Level(), a.is.Level())}
	}
	for _, step := range []func() error{a.named, a.partitions, a.jobs, a.stops} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	a.cmd.Sort(a.is)
	a.audited()
	if a.dry || a.cmd.Empty() {
		return a.planned()
	}
	if err := a.cmd.CheckSize(a.is); err != nil {
		return nil, err
	}
	v, err := c.Do(a.cmd)
	if err != nil {
		return nil, a.located(err)
	}
	a.done(v.(*fsm.AppliedAll))
	a.Subject.Each = a.each(a.Store.View())
	return a.answer, nil
}

// maxAuditedNames bounds the names of what was to be changed together, in the audit.
const maxAuditedNames = 8

// audited notes what is to be changed, for the record of a failure.
func (a *applying) audited() {
	var names []string
	for _, did := range a.answer.Items {
		if did.Action != api.ApplyNothing {
			names = append(names, did.Name)
		}
	}
	if more := len(names) - maxAuditedNames; more > 0 {
		names = append(names[:maxAuditedNames], fmt.Sprintf("and %d more", more))
	}
	a.Subject.Object = strings.Join(names, ", ")
}

// each is all that was changed, as the audit has it: as many records as if each had been
// changed by a request of its own.
func (a *applying) each(now *fsm.View) (out []exchange.Subject) {
	for _, did := range a.answer.Items {
		if did.Action == api.ApplyNothing {
			continue
		}
		s := exchange.Subject{Object: did.Name, Asked: string(did.Action) + " " + did.Kind}
		was, before := auditedAs(a.is, did)
		is, after := auditedAs(now, did)
		s.Partition, s.Before, s.After = cmp.Or(is, was), before, after
		out = append(out, s)
	}
	return out
}

// auditedAs is a partition or a job as it is in a view, and its partition.
func auditedAs(v *fsm.View, did api.Applied) (partition string, is any) {
	if did.Kind == kindPartition {
		if p := v.Partition(did.Name); p != nil {
			return p.Path, p
		}
		return did.Name, nil
	}
	if j := v.Job(did.Name); j != nil {
		return j.Spec.Partition, auditedJob{j.Version, j.Stop, j.Spec}
	}
	return "", nil
}

// named refuses what has no name, or is named twice.
func (a *applying) named() error {
	parts, jobs := map[string]bool{}, map[string]bool{}
	for i, p := range a.in.Partitions {
		switch {
		case p == nil || p.Path == "":
			return api.FieldErrorf(fmt.Sprintf("partitions[%d].path", i), "is missing: give the path of the partition, such as ml/train")
		case parts[p.Path]:
			return api.FieldErrorf(fmt.Sprintf("partitions[%d].path", i), "%q is there twice", p.Path)
		}
		parts[p.Path] = true
	}
	for i, s := range a.in.Jobs {
		switch {
		case s == nil || s.Name == "":
			return api.FieldErrorf(fmt.Sprintf("jobs[%d].name", i), "is missing: jobs are found by their names")
		case jobs[s.Name]:
			return api.FieldErrorf(fmt.Sprintf("jobs[%d].name", i), "%q is there twice", s.Name)
		}
		jobs[s.Name] = true
	}
	for i, s := range a.in.Stop {
		switch {
		case s.Job == "":
			return api.FieldErrorf(fmt.Sprintf("stop[%d].job", i), "is missing: give the id of the job that shall stop")
		case jobs[s.Job]:
			return api.FieldErrorf(fmt.Sprintf("stop[%d]", i), "%q is to be applied and to be stopped, or to be stopped twice: leave one out", s.Job)
		}
		jobs[s.Job] = true
	}
	return nil
}

func (a *applying) partitions() error {
	for i, p := range a.in.Partitions {
		if err := a.partition(p); err != nil {
			return api.InField(fmt.Sprintf("partitions[%d]", i), err)
		}
	}
	fork := a.is.Fork()
	if _, err := fork.Do(&fsm.ApplyAll{Meta: a.cmd.Meta, Partitions: a.cmd.Partitions}); err != nil {
		return a.located(err)
	}
	a.shall = fork.View()
	return nil
}

func (a *applying) partition(p *api.Partition) error {
	asked, err := a.checked(p)
	if err != nil {
		return err
	}
	if err := auth.May(a.ID, auth.ManagePartitions, auth.Object{Partition: p.Path}); err != nil {
		return err
	}
	old := a.is.Partition(p.Path)
	if err := a.mayMap(old, asked); err != nil {
		return err
	}
	if err := a.mayRaise(a.is, old, asked); err != nil {
		return err
	}
	did := api.Applied{Kind: kindPartition, Name: p.Path, Action: api.ApplyCreate}
	seen := fsm.Seen{Partition: p.Path}
	cmd := &fsm.PartitionPut{Partition: asked, Create: old == nil}
	if old != nil {
		seen.Revision, did.Action, did.Changes = old.Revision, api.ApplyUpdate, api.Differences(old.Asked(), asked)
	}
	if err := a.keepMap(old, cmd); err != nil {
		return err
	}
	if old != nil && samePartition(old, asked) {
		did.Action = api.ApplyNothing
	} else {
		a.cmd.Partitions = append(a.cmd.Partitions, cmd)
	}
	a.cmd.Seen, a.answer.Items = append(a.cmd.Seen, seen), append(a.answer.Items, did)
	return nil
}

func (a *applying) jobs() error {
	for i, s := range a.in.Jobs {
		if err := a.job(s); err != nil {
			return api.InField(fmt.Sprintf("jobs[%d]", i), err)
		}
	}
	return a.mayRunAgain()
}

// mayRunAgain refuses if batches would run again and that was not asked for. It names
// all of them, as it is asked for all together.
func (a *applying) mayRunAgain() error {
	if len(a.ended) == 0 {
		return nil
	}
	first, more := a.ended[0], ""
	if len(a.ended) > 1 {
		more = ", and so would " + quoted(a.ended[1:])
	}
	i := slices.IndexFunc(a.in.Jobs, func(s *api.JobSpec) bool { return s.Name == first })
	return &api.Error{Code: api.CodeConflict, Field: fmt.Sprintf("jobs[%d].%s", i, api.FieldAgain), Message: fmt.Sprintf("%q has ended (%s) and would run again, as another%s: have that done with --again, or give it another name", first, a.is.Job(first).State, more)}
}

// maxNamed bounds the jobs that an error names.
const maxNamed = 50

// quoted are names as an error lists them.
func quoted(names []string) string {
	var out []string
	for _, name := range names[:min(len(names), maxNamed)] {
		out = append(out, strconv.Quote(name))
	}
	text := strings.Join(out, ", ")
	if more := len(names) - maxNamed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func (a *applying) job(s *api.JobSpec) error {
	filled, err := a.complete(a.shall, s)
	if err != nil {
		return err
	}
	if err := a.admit(a.shall, s); err != nil {
		return err
	}
	old := a.is.Job(s.Name)
	did := api.Applied{Kind: s.Kind.String(), Name: s.Name, Action: api.ApplyCreate}
	seen := fsm.Seen{Job: s.Name}
	if old != nil {
		seen.Revision, did.Version = old.Revision, old.Version
		did.Changes = api.Differences(old.Spec, s)
	}
	same := old != nil && reflect.DeepEqual(old.Spec, s)
	if a.dry {
		var lacks []string
		if _, lacks, err = a.uploaded(a.is, s); err != nil {
			return err
		}
		if a.planOn, _, err = a.uploaded(a.planOn, s); err != nil {
			return err
		}
		a.lacks[s.Name] = lacks
	}
	switch {
	case same && !old.Stop && (old.Spec.Kind == api.KindBatch || !old.State.Ended()):
		did.Action = api.ApplyNothing // a batch that ended is as it should be: it does not run twice
	case old == nil || old.State.Ended():
		if old != nil && old.Spec.Kind == api.KindBatch && s.Kind == api.KindBatch {
			did.Action = api.ApplyAgain
		}
		if did.Action == api.ApplyAgain && !a.in.Again && !a.dry {
			a.ended = append(a.ended, s.Name)
		}
		a.cmd.Creates = append(a.cmd.Creates, &fsm.JobCreate{Spec: s, Filled: filled})
	case old.Spec.Kind != api.KindService || s.Kind != api.KindService:
		return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("%q is %s and a %s, which cannot be another while it is there: let it end or stop it with `mesita stop %[1]s`, and apply again; or give this one another name", s.Name, old.State, old.Spec.Kind)}
	default:
		did.Action = api.ApplyUpdate
		a.cmd.Updates = append(a.cmd.Updates, &fsm.JobUpdate{ID: s.Name, Spec: s, Filled: filled})
	}
	a.cmd.Seen, a.answer.Items = append(a.cmd.Seen, seen), append(a.answer.Items, did)
	return nil
}

// stops has those jobs stopped that are still as they were seen.
func (a *applying) stops() error {
	if err := a.mayStop(); err != nil {
		return err
	}
	for i, s := range a.in.Stop {
		j := a.is.Job(s.Job)
		field := fmt.Sprintf("stop[%d].%s", i, api.FieldRevision)
		switch {
		case j.Revision == s.Revision:
		case s.Revision == 0:
			return api.FieldErrorf(field, "is missing: give the revision that job %q had when it was looked at; it is now at %d", s.Job, j.Revision)
		default:
			return &api.Error{Code: api.CodeConflict, Field: field, Message: fmt.Sprintf("job %q was changed since it was looked at (it is now at revision %d, and was at %d): look at it, and apply again", s.Job, j.Revision, s.Revision)}
		}
		if j.State.Ended() || j.Stop {
			continue
		}
		a.cmd.Stops = append(a.cmd.Stops, &fsm.JobStop{ID: s.Job})
		a.cmd.Seen = append(a.cmd.Seen, fsm.Seen{Job: s.Job, Revision: s.Revision})
		a.answer.Items = append(a.answer.Items, api.Applied{Kind: j.Spec.Kind.String(), Name: s.Job, Action: api.ApplyStop, Version: j.Version})
	}
	return nil
}

// mayStop refuses if there are jobs that are not there, or that the caller may not
// stop. Of the latter it names all.
func (a *applying) mayStop() error {
	sees := a.sight(a.is)
	var not []string
	first, why := 0, error(nil)
	for i, s := range a.in.Stop {
		if a.is.Job(s.Job) == nil || !sees.job(s.Job) {
			return api.InField(fmt.Sprintf("stop[%d]", i), api.NotFound("job", s.Job))
		}
		if err := a.mayChange(a.is, auth.Deploy, s.Job); err != nil {
			if not = append(not, s.Job); why == nil {
				first, why = i, err
			}
		}
	}
	if why == nil {
		return nil
	}
	refused := *exchange.AsError(why)
	refused.Field, refused.Message = fmt.Sprintf("stop[%d]", first), fmt.Sprintf("you may not stop %s, so nothing is done: %s", quoted(not), refused.Message)
	return &refused
}

// planned is the answer to what would be done.
func (a *applying) planned() (any, error) {
	if a.cmd.Empty() {
		return a.answer, nil
	}
	if err := a.cmd.CheckSize(a.is); err != nil {
		return nil, err
	}
	var plans map[string]*api.Plan
	err := a.Ponder(func(ctx context.Context) (err error) {
		plans, err = a.Planner.PlanAll(ctx, a.planOn, a.cmd)
		return err
	})
	if err != nil {
		return nil, a.located(err)
	}
	sees, near := a.sight(a.is), map[string][]api.Affinity{}
	for _, s := range a.in.Jobs {
		near[s.Name] = s.Affinity
	}
	for i := range a.answer.Items {
		did := &a.answer.Items[i]
		if did.Kind != kindPartition {
			did.Plan = plans[did.Name]
		}
		if did.Plan == nil {
			continue
		}
		if did.Plan.Lacks = a.lacks[did.Name]; !sees.all {
			did.Plan.Hide(near[did.Name], sees.job)
		}
	}
	return a.answer, nil
}

// done puts into the answer which versions of jobs there are now.
func (a *applying) done(all *fsm.AppliedAll) {
	versions := map[string]int{}
	for _, j := range slices.Concat(all.Updated, all.Created) {
		versions[j.ID] = j.Version
	}
	for i := range a.answer.Items {
		if did := &a.answer.Items[i]; did.Kind != kindPartition && versions[did.Name] != 0 {
			did.Version = versions[did.Name]
		}
	}
}

// located says of which part of the request an error of the command is.
func (a *applying) located(err error) error {
	var part *fsm.PartError
	if !errors.As(err, &part) {
		return err
	}
	field := ""
	if i := slices.IndexFunc(a.in.Partitions, func(p *api.Partition) bool { return p.Path == part.Partition }); i >= 0 && part.Partition != "" {
		field = fmt.Sprintf("partitions[%d]", i)
	}
	if i := slices.IndexFunc(a.in.Jobs, func(s *api.JobSpec) bool { return s.Name == part.Job }); i >= 0 && part.Job != "" {
		field = fmt.Sprintf("jobs[%d]", i)
	}
	if i := slices.IndexFunc(a.in.Stop, func(s api.StopSeen) bool { return s.Job == part.Job }); i >= 0 && part.Job != "" {
		field = fmt.Sprintf("stop[%d]", i)
	}
	return api.InField(field, exchange.AsError(part.Err))
}
