package server

import (
	"cmp"
	"reflect"

	"github.com/mesita/mesita/api"
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
	return c.settleUser(v, s)
}

// settleUser is runsAs of what nobody submitted before.
func (c *call) settleUser(v *fsm.View, s *api.JobSpec) error {
	if c.mayBeRoot() {
		s.User = cmp.Or(s.User, c.ID.RunAs)
		return nil
	}
	m := mappingOf(v, c.ID.RunAs, s.Partition)
	s.User = cmp.Or(s.User, m.user)
	if s.User == m.user && !api.IsRoot(s.User) {
		return nil
	}
	if !m.anybody {
		return &api.Error{Code: api.CodeNotAllowed, Field: "user", Message: m.refusal(c.ID.Actor, s.User, s.Partition)}
	}
	s.OnlyWhereRoot()
	return s.Validate() // there may be one condition too many now
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

// mayEnterAs refuses a command beside a task of somebody who the caller's own
// tasks may not be: it would have all that is theirs.
func (c *call) mayEnterAs(v *fsm.View, t *api.Task, s *api.JobSpec) error {
	if !v.Does(fsm.TaskUsers) || c.mayBeRoot() {
		return nil
	}
	m := mappingOf(v, c.ID.RunAs, t.Partition)
	user := s.RunsAs()
	n := v.Node(t.NodeID)
	switch {
	case user == m.user && user != "root":
	case m.anybody && (n == nil || n.Attrs[api.AttrAllowRoot] == "yes"):
	case m.anybody:
		return api.Errorf(api.CodeNotAllowed, "task %s runs as %q on node %s, which allows users no root: ask an admin to run the command, or to start the node with --allow-root", t.ID, user, n.Name)
	default:
		return api.Errorf(api.CodeNotAllowed, "task %s: %s", t.ID, m.refusal(c.ID.Actor, user, t.Partition))
	}
	return nil
}

// mapping is who the tasks of a user are on nodes.
type mapping struct {
	user    string // by default, and the only one unless anybody
	anybody bool   // the partition allows root, who can become anybody
}

// mappingOf is that of who shows a token in a partition: the token's, or that of
// the nearest partition at or above it that says.
func mappingOf(v *fsm.View, token, partition string) mapping {
	m := mapping{user: token}
	for path := partition; path != ""; path = api.ParentPath(path) {
		if p := v.Partition(path); p != nil {
			m.user = cmp.Or(m.user, p.RunAs)
			m.anybody = m.anybody || p.AllowRoot
		}
	}
	m.user = cmp.Or(m.user, api.TaskUser)
	if api.IsRoot(m.user) {
		m.user = "root"
	}
	return m
}

// refusal is why a user's tasks may not be somebody, and what to do.
func (m mapping) refusal(actor, user, partition string) string {
	ask := "for a token with --run-as " + user + " or "
	if api.IsRoot(user) {
		ask = "" // which would take the other as well
	}
	if m.user == "root" {
		return actor + " runs tasks as root, which partition " + partition + " does not allow: ask an admin " + ask + "for `mesita partition set " + partition + " --allow-root`"
	}
	return actor + " runs tasks as \"" + m.user + "\" in partition " + partition + ", not as \"" + user + "\": leave --user out, or ask an admin " + ask + "for `mesita partition set " + partition + " --allow-root`"
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
	m := mappingOf(v, id.RunAs, o.Partition)
	switch {
	case m.anybody:
		return m.user + ", or anybody where root is allowed"
	case m.user == "root":
		return "nobody: root is not allowed there"
	}
	return m.user
}
