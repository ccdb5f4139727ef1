package node

import (
	"cmp"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/admit"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/mesos/call"
	"github.com/mesita/mesita/api/mesos/rows"
)

// Rights to a task are those of its job as that is now. What an attempt wrote, has and does
// is besides for nobody who would not have seen the job where it was as the attempt began.

// readsAll reports whether the caller may read whatever there is.
func readsAll(c *exchange.Call) bool { return auth.May(c.ID, auth.ReadLogs, auth.Object{}) == nil }

// seen is what the caller sees of the cluster, as far as this node knows it.
func (s *Server) seen(c *exchange.Call) *rows.Rows { return rows.Of(s.Store.View(), c.ID) }

// sees reports whether the caller sees that a task is there.
func (s *Server) sees(c *exchange.Call, t *api.Task) bool {
	if own, is := executorOf(c); is {
		return own == container(t)
	}
	if r := s.seen(c); r.View.Job(t.Job) != nil || readsAll(c) {
		return r.SeesTask(t)
	}
	return s.ofFrameworkHere(t) && auth.May(c.ID, auth.ReadLogs, auth.Object{Partition: t.Partition}) == nil
}

// ofFrameworkHere reports whether a task is of a job that this node does not know, and that
// never was in another partition.
func (s *Server) ofFrameworkHere(t *api.Task) bool {
	return t.Framework != nil && !s.Cluster.HasReplica()
}

// reads reports whether the caller, who sees a task, may read what is of that attempt.
func (s *Server) reads(c *exchange.Call, t *api.Task) bool {
	if _, is := executorOf(c); is || readsAll(c) {
		return true
	}
	r := s.seen(c)
	if r.View.Job(t.Job) == nil {
		return s.ofFrameworkHere(t)
	}
	return r.SeesAttempt(t)
}

func ofBefore(t *api.Task) string {
	return "Task " + t.ID + " runs since before its job came to a partition that you may read: its next attempt is open to you"
}

// hidden is why the caller is shown nothing: where nobody knows what it may see, that is said.
func (s *Server) hidden(c *exchange.Call, otherwise error) error {
	if _, is := executorOf(c); is || s.Cluster.HasReplica() || readsAll(c) {
		return otherwise
	}
	return unavailable(s.ignorant())
}

func (s *Server) ignorant() string {
	return "Node " + s.NodeName + " has no copy of the cluster's state, by which it is known who may see a task: use `mesita`, or ask as an admin"
}

// mayEnter refuses who may run no commands beside a task. An executor may beside itself.
func (s *Server) mayEnter(c *exchange.Call, a *api.Assignment) error {
	if own, is := executorOf(c); is {
		if own == container(a.Task) {
			return nil
		}
		return forbidden("The token is another executor's")
	}
	if admit.Root(c.ID) {
		return nil
	}
	if !s.Cluster.HasReplica() {
		return unavailable(s.ignorant())
	}
	v := s.Store.View()
	j := v.Job(a.Task.Job)
	if j == nil {
		return forbidden("The job of task " + a.Task.ID + " was removed: an admin alone may enter it")
	}
	t := *a.Task
	t.Partition = j.Spec.Partition
	err := auth.May(c.ID, auth.Exec, admit.Object(v, t.Partition, cmp.Or(j.Spec.Name, j.ID)))
	if err == nil {
		err = admit.Enter(v, c.ID, &t, a.Spec)
	}
	if err != nil {
		return forbidden(exchange.AsError(err).Message)
	}
	if !s.reads(c, a.Task) {
		return forbidden(ofBefore(a.Task))
	}
	return nil
}

// runs refuses a command beside an attempt that the cluster does not say to run.
func (s *Server) runs(t *api.Task) error {
	now := t
	if s.Cluster.HasReplica() {
		now = s.Store.View().Task(t.ID)
	}
	switch {
	case now == nil || now.Attempt != t.Attempt:
		return call.Bad("Attempt of task " + t.ID + " in container " + container(t) + " does not run any more")
	case now.State != api.TaskRunning:
		return call.Bad("Task " + t.ID + " does not run, it is " + now.State.Word())
	}
	return nil
}
