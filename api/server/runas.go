package server

import (
	"cmp"
	"reflect"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/admit"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/fsm"
)

// runsAs settles who the tasks of a spec run as, once, when it is taken: the
// state has no word for who the caller is on a node. Admins of the cluster choose
// anybody, and are root by default. Whoever submits again what is there changes
// nothing, nor does who has more or fewer of the same tasks; an admin who names a
// user has that one.
func (c *call) runsAs(v *fsm.View, s *api.JobSpec) error {
	if !v.Does(fsm.TaskUsers) {
		return nil
	}
	if j := v.Job(s.Name); j != nil && !(s.User != "" && c.mayBeRoot()) && c.goesOn(j, s) {
		s.User = j.Spec.User
		if j.Spec.NeedsRootNode() {
			s.OnlyWhereRoot()
		}
		return nil
	}
	return admit.SettleUser(v, c.ID, s, s.Validate)
}

// goesOn reports whether a spec asks for a job that is there, with the tasks that it
// has. A batch that ended does not begin again if all of it is the same. What would
// take a command that makes a job, if that one has ended by then, does not continue:
// such a job is the caller's.
func (c *call) goesOn(j *api.Job, s *api.JobSpec) bool {
	like, want := *j.Spec, *s
	if s.User != "" && s.User != like.User {
		return false
	}
	like.User, want.User = "", ""
	if like.NeedsRootNode() {
		want.OnlyWhereRoot()
	}
	applied, batch := c.applies(), like.Kind == api.KindBatch
	if !applied || batch || j.State.Ended() {
		return !j.Stop && (applied && batch || !j.State.Ended()) && reflect.DeepEqual(&like, &want)
	}
	like.Count, like.Priority, like.Labels, like.AtMostOnce = s.Count, s.Priority, s.Labels, s.AtMostOnce
	return reflect.DeepEqual(&like, &want)
}

// goesOnAsItIs reports whether an admitted spec has who a job's tasks are from the job
// that is there, and not from the caller. No command may make that of another job,
// or of none.
func (c *call) goesOnAsItIs(v *fsm.View, s *api.JobSpec) bool {
	j := v.Job(s.Name)
	return j != nil && v.Does(fsm.TaskUsers) && !c.mayBeRoot() && c.goesOn(j, s)
}

// mayMap refuses a change of who the tasks of a partition's users are to who is not
// an admin of the cluster: whoever may be root on a node has all of it.
func (c *call) mayMap(old, p *api.Partition) error {
	if old == nil {
		old = new(api.Partition)
	}
	field := ""
	switch {
	case c.mayBeRoot():
	case old.RunAs != p.RunAs:
		field = "runAs"
	case old.AllowRoot != p.AllowRoot:
		field = "allowRoot"
	}
	if field == "" {
		return nil
	}
	return &api.Error{Code: api.CodeNotAllowed, Field: field, Message: "says who tasks are on nodes, so only an admin of the cluster may change it, and you are " + c.ID.Actor + " (" + c.ID.Has() + "): leave it as it is, or ask one"}
}

// keepMap lets the command of who is not an admin of the cluster change nothing but what
// mayMap saw: it writes all of the partition, who tasks are there included. Below
// level 1 nothing has a revision, but a version.
func (c *call) keepMap(old *api.Partition, cmd *fsm.PartitionPut) error {
	switch {
	case c.mayBeRoot():
	case old == nil:
		cmd.Create = true
	case cmd.IfRevision > 0 && cmd.IfRevision != old.Revision, cmd.IfVersion > 0 && cmd.IfVersion != old.Version:
		return api.Errorf(api.CodeConflict, "partition %q was changed meanwhile, or another revision of it is meant: look at it, and change it again", old.Path)
	default:
		cmd.IfRevision, cmd.IfVersion = old.Revision, old.Version
	}
	return nil
}

// runAsText says who the tasks of somebody are there, for `can`.
func runAsText(v *fsm.View, id auth.Identity, o auth.Object) string {
	if auth.May(id, auth.ManageNodes, auth.Object{}) == nil {
		return cmp.Or(id.RunAs, "root") + ", or anybody"
	}
	if o.Partition == "" {
		return id.RunAs
	}
	m := admit.MappingOf(v, id.RunAs, o.Partition)
	switch {
	case m.Anybody:
		return m.User + ", or anybody where root is allowed"
	case m.User == "root":
		return "nobody: root is not allowed there"
	}
	return m.User
}
