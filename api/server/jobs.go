package server

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/admit"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
)

// spec reads, completes and checks the job in the body, and says what of it the
// partition named.
func (c *call) spec(v *fsm.View) (s *api.JobSpec, filled []api.Filled, err error) {
	s = new(api.JobSpec)
	if err := c.Decode(s); err != nil {
		return nil, nil, err
	}
	if c.Route.Method == http.MethodPut {
		if s.Name == "" {
			s.Name = c.Args[0]
		}
		if s.Name != c.Args[0] {
			return nil, nil, api.FieldErrorf("name", "is %q in the body and %q in the path: make them the same", s.Name, c.Args[0])
		}
	}
	filled, err = c.complete(v, s)
	return s, filled, err
}

// complete fills a spec in, checks it, and says what of it the partition named.
func (c *call) complete(v *fsm.View, s *api.JobSpec) ([]api.Filled, error) {
	if err := unmasked(s); err != nil {
		return nil, err
	}
	like := v.Job(s.Name)
	switch {
	case like == nil:
	case like.State.Ended() && !c.applies():
		like = nil // another one begins
	case !c.sight(v).job(like.ID):
		like = nil // what it was given is not for everybody
	}
	filled := s.Complete(v.Chain(cmp.Or(s.Partition, api.DefaultPartition)), like)
	c.compareVersions(v, s, like)
	if err := s.Validate(); err != nil {
		return nil, err
	}
	return filled, s.CheckUploaded()
}

// compareVersions has the conditions of a spec compare as all voters know it, and those
// that its job has already as they did.
func (c *call) compareVersions(v *fsm.View, s *api.JobSpec, like *api.Job) {
	var before api.Placing
	if like != nil {
		before = like.Spec.Placing
	}
	known := v.Does(fsm.Versions)
	s.Constraints, s.Prefer = api.MarkVersions(s.Constraints, before.Constraints, known), api.MarkVersions(s.Prefer, before.Prefer, known)
}

// applies reports whether jobs are to be as they are told, rather than submitted.
func (c *call) applies() bool { return c.Route.Method == http.MethodPut || c.Route.Path == applyPath }

// admit refuses a job that this cluster cannot take at all, or not from this
// caller: where it shall be, and where it is by now.
func (c *call) admit(v *fsm.View, s *api.JobSpec) error {
	if err := c.mayBeIn(v, s.Partition, s.Name); err != nil {
		return err
	}
	there := v.Job(s.Name)
	hidden := there != nil && !c.sight(v).job(there.ID)
	if !hidden {
		if err := c.mayChange(v, auth.Deploy, s.Name); err != nil {
			return err
		}
	}
	if err := c.mayLift(s); err != nil {
		return err
	}
	if err := c.runsAs(v, s); err != nil {
		return err
	}
	if err := c.hasRoom(v, s); err != nil || !hidden {
		return err
	}
	// That a name is taken cannot be kept from who may make a job: it is said last,
	// and nothing else of whose it is.
	return &api.Error{Code: api.CodeConflict, Field: "name", Message: fmt.Sprintf("another job is called %q: choose another name", s.Name)}
}

// mayBeIn refuses a job that the caller may not have in a partition.
func (c *call) mayBeIn(v *fsm.View, partition, job string) error {
	if v.Partition(partition) == nil {
		return api.InField("partition", noPartition(partition))
	}
	return auth.May(c.ID, auth.Deploy, admit.Object(v, partition, job))
}

// mayLift refuses what only admins of the cluster may ask for.
func (c *call) mayLift(s *api.JobSpec) error {
	if field := s.Lifts(); field != "" && !c.mayBeRoot() {
		return &api.Error{Code: api.CodeNotAllowed, Field: field,
			Message: "a task with " + field + " may be root of its node, so only an admin of the cluster may ask for one, and you are " + c.ID.Actor + " (" + c.ID.Has() + "): leave it out, or ask an admin to submit the job"}
	}
	return nil
}

// hasRoom refuses what no disk or node could take.
func (c *call) hasRoom(v *fsm.View, s *api.JobSpec) error {
	if folder, full := c.Local.DiskFull(); full {
		return api.Errorf(api.CodeUnavailable, "the disk of %s on node %s is full, and no new work is taken until there is room: free some space there", folder, c.NodeName)
	}
	return c.Planner.CheckFits(v, s)
}

func createJob(c *call) (any, error) {
	key, err := c.RequestKey()
	if err != nil {
		return nil, err
	}
	view := c.Store.View()
	s, filled, err := c.spec(view)
	if err != nil {
		return nil, err
	}
	if err := c.admit(view, s); err != nil {
		return nil, err
	}
	cmd := &fsm.JobCreate{Meta: c.Meta(), Spec: s, Request: key, Filled: filled}
	if c.Query.Flag("dry_run") {
		return c.plan(view, s, cmd)
	}
	if c.Query.Err != nil {
		return nil, c.Query.Err
	}
	var v any = view.Job(s.Name)
	if !c.goesOnAsItIs(view, s) {
		v, err = c.propose(cmd, key)
	}
	if j, ok := v.(*api.Job); ok && c.R.Header.Get("Prefer") == "return=minimal" { // RFC 7240
		v = jobID{j.ID}
	}
	return exchange.With{Status: http.StatusCreated, Value: v}, err
}

// plan says what a command with that spec would do, or why it would be refused.
func (c *call) plan(v *fsm.View, s *api.JobSpec, cmd fsm.Command) (any, error) {
	if c.Query.Err != nil {
		return nil, c.Query.Err
	}
	v, lacks, err := c.uploaded(v, s)
	if err != nil {
		return nil, err
	}
	var plan *api.Plan
	err = c.Ponder(func(ctx context.Context) (err error) {
		plan, err = c.Planner.Plan(ctx, v, s, cmd)
		return err
	})
	if err != nil {
		return nil, err
	}
	if sees := c.sight(v); !sees.all {
		plan.Hide(s.Affinity, sees.job)
	}
	plan.Lacks = lacks
	return plan, nil
}

// jobID is the answer to who wants to know no more of a new job.
type jobID struct {
	ID string `json:"id"`
}

// applyJob makes the job be as the body says: it creates or updates it, or
// leaves it as it is.
func applyJob(c *call) (any, error) {
	key, err := c.RequestKey()
	if err != nil {
		return nil, err
	}
	ifVersion, dry := c.Query.Number("if_version", 0, 1, 1<<31-1), c.Query.Flag("dry_run")
	ifRevision := c.Query.Index("if_revision")
	if c.Query.Err != nil {
		return nil, c.Query.Err
	}
	view := c.Store.View()
	s, filled, err := c.spec(view)
	if err != nil {
		return nil, err
	}
	if err := c.admit(view, s); err != nil {
		return nil, err
	}
	old := view.Job(s.Name)
	switch {
	case old == nil && ifVersion != 0:
		return nil, api.Errorf(api.CodeConflict, "there is no job %q, and so no version %d of it", s.Name, ifVersion)
	case old != nil && ifVersion != 0 && old.Version != ifVersion:
		return nil, api.Errorf(api.CodeConflict, "job %q is now at version %d, not %d: look at it and try again", s.Name, old.Version, ifVersion)
	case old != nil && old.Spec.Kind == api.KindBatch && !old.Stop && reflect.DeepEqual(old.Spec, s):
		if dry {
			return c.plan(view, s, nil)
		}
		return old, nil // a batch that ended is as it should be: it does not run twice
	}
	update := &fsm.JobUpdate{Meta: c.Meta(), ID: s.Name, IfVersion: ifVersion, IfRevision: ifRevision, Spec: s, Filled: filled}
	if c.goesOnAsItIs(view, s) { // and as nothing that took its place
		if ifRevision != 0 && ifRevision != old.Revision {
			return nil, api.Errorf(api.CodeConflict, "job %q is now at revision %d, not %d: look at it and try again", s.Name, old.Revision, ifRevision)
		}
		update.IfVersion, update.IfRevision = old.Version, old.Revision
	}
	var cmd fsm.Command = update
	if old == nil || old.State.Ended() || s.Kind != api.KindService {
		cmd = &fsm.JobCreate{Meta: c.Meta(), Spec: s, Request: key, IfRevision: ifRevision, Filled: filled}
	}
	if dry {
		return c.plan(view, s, cmd)
	}
	return c.propose(cmd, key)
}

// uploaded is the state as it is once a spec's program and files are there, and those that
// are not yet: a dry run is not stopped by that, as they may be uploaded before it is done.
func (c *call) uploaded(v *fsm.View, s *api.JobSpec) (is *fsm.View, lacks []string, err error) {
	f := v.Fork()
	for digest := range s.Uploads() {
		if f.View().Blob(digest) == nil {
			lacks = append(lacks, digest)
			if _, err := f.Do(&fsm.BlobPut{Meta: c.Meta(), Blob: &api.Blob{Digest: digest}, NodeID: c.Cluster.NodeID()}); err != nil {
				return nil, nil, err
			}
		}
	}
	return f.View(), lacks, nil
}

// propose proposes a command that may make a job. Keys of requests are of all
// callers together: a job that the caller does not see is not the answer to who chose
// the same one. Who made it does not tell alone: root is another user on each node.
func (c *call) propose(cmd fsm.Command, key string) (any, error) {
	v, err := c.Do(cmd)
	_, creates := cmd.(*fsm.JobCreate)
	if j, ok := v.(*api.Job); ok && creates && key != "" && j.Request == key && j.Actor != c.ID.Actor && !c.sight(nil).reads(j) {
		return nil, &api.Error{Code: api.CodeConflict, Field: "Idempotency-Key", Message: fmt.Sprintf("%q was the key of somebody else's request: choose one that nobody else does, such as a UUID", key)}
	}
	return v, err
}

func listJobs(c *call) (any, error) {
	var kind api.Kind
	var state api.JobState
	byKind, byState, all := c.Query.Enum("kind", &kind), c.Query.Enum("state", &state), c.Query.Flag("all")
	labels := c.Query.Labels()
	if c.Query.Err != nil {
		return nil, c.Query.Err
	}
	v := c.Store.View()
	sees := c.sight(v)
	wanted := func(j *api.Job) bool {
		return (all || byState || !j.State.Ended()) && (!byState || j.State == state) && (!byKind || j.Spec.Kind == kind) && sees.reads(j) && api.MatchAll(labels, "", j.Spec.Labels)
	}
	out := exchange.ListOf(exchange.Filtered(v.JobsAfter(c.After()), wanted))
	out.Total = func() (n int) {
		for range exchange.Filtered(v.Jobs(), wanted) {
			n++
		}
		return n
	}
	return out, nil
}

// job is the one that the path names.
func (c *call) job() (*api.Job, error) {
	v := c.Store.View()
	if j := v.Job(c.Args[0]); j != nil && c.sight(v).job(j.ID) {
		return j, nil
	}
	return nil, api.NotFound("job", c.Args[0])
}

func getJob(c *call) (any, error) {
	if c.Query.Has("wait") {
		return c.waitJob()
	}
	return c.job()
}

type scaleRequest struct {
	Count *int `json:"count"`
}

func scaleJob(c *call) (any, error) {
	var in scaleRequest
	if err := c.Decode(&in); err != nil {
		return nil, err
	}
	if in.Count == nil {
		return nil, api.FieldErrorf("count", "is missing: give how many tasks to keep running")
	}
	return c.Do(&fsm.JobScale{Meta: c.Meta(), ID: c.Args[0], Count: *in.Count})
}

func stopJob(c *call) (any, error) {
	return c.Do(&fsm.JobStop{Meta: c.Meta(), ID: c.Args[0]})
}

// removed says how many objects were removed.
type removed struct {
	Removed int `json:"removed"`
}

func removeJob(c *call) (any, error) {
	n, err := exchange.DoAs[int](c.Call, &fsm.JobRemove{Meta: c.Meta(), IDs: []string{c.Args[0]}})
	return removed{n}, err
}

func whyJob(c *call) (any, error) {
	if _, err := c.job(); err != nil {
		return nil, err
	}
	return c.explain()
}

// explain says why the job or task of the path is in its state.
func (c *call) explain() (why *api.Why, err error) {
	err = c.Ponder(func(ctx context.Context) (err error) {
		v, job := c.Store.View(), c.Args[0]
		if why, err = c.Planner.Explain(v, job); err != nil {
			return err
		}
		t := v.Task(job)
		if t != nil {
			job = t.Job
		}
		if err := c.expect(ctx, v, why, v.Job(job), t); err != nil {
			return err
		}
		c.sight(v).shownWhy(why, v.Job(job))
		return nil
	})
	return why, err
}

// expect has what waits say when it starts as the queue does. Where the queue was not
// asked, as too much waits, only what is promised is said. It is about the first task
// of a job: of the others only their place is known.
func (c *call) expect(ctx context.Context, v *fsm.View, why *api.Why, j *api.Job, t *api.Task) error {
	if j == nil || j.Counts.Pending == 0 || t != nil && !t.Pending() {
		return nil
	}
	if t != nil {
		for first := range v.PendingTasks(j) {
			if first.ID != t.ID {
				why.Expect(time.Time{}, "")
				return nil
			}
			break
		}
	}
	at, sure, known, err := c.Queue.Start(ctx, c.Store.View, j.ID)
	if err == nil && (known || why.Sure != api.SurePromised) {
		why.Expect(at, sure)
	}
	return err
}

func progress(j *api.Job) string {
	return j.State.String() + ", " + strconv.Itoa(j.Counts.Running) + "/" + strconv.Itoa(j.Spec.Tasks()) + " running"
}
