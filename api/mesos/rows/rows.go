// Package rows says what a cluster has in the messages of Mesos: nodes as agents,
// partitions as roles, frameworks, tasks and executors.
//
// It owns that translation and what a caller sees of it, which is what our own lists show
// it. It does not own who asks or how it is sent: api/mesos tells frameworks, and
// api/mesos/operator and what is beside it tell everybody else.
//
// What jobs run belongs to no framework of Mesos. It is shown as the tasks of one
// framework, Own: dashboards and exporters add up tasks by framework, and a cluster whose
// agents are full of tasks that nobody has would look broken to them.
package rows

import (
	"cmp"
	"slices"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/admit"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/fsm"
)

// Version is the version of Mesos whose API this is: clients take it apart as numbers.
const Version = "1.11.0"

// Own is the id and the name of the framework that jobs are tasks of. No other may have it.
const Own = "mesita"

// Role is what Mesos calls a partition.
func Role(partition string) string {
	if partition == api.DefaultPartition {
		return "*"
	}
	return partition
}

// Partition is what a role is here.
func Partition(role string) string {
	if role == "*" {
		return api.DefaultPartition
	}
	return role
}

// Rows is what one caller sees of one view.
type Rows struct {
	View *fsm.View
	id   auth.Identity
	all  bool
	jobs map[string]bool // that were asked for
	past admit.Past

	values map[placed]bool
}

// Of is what a caller sees. What its token may is as of the view.
func Of(v *fsm.View, id auth.Identity) *Rows {
	if id.Token != "" {
		if t := v.Token(id.Token); t != nil {
			now := auth.OfToken(t)
			id.Role, id.Rights = now.Role, now.Rights
		}
	}
	all := auth.May(id, auth.ReadLogs, auth.Object{}) == nil
	return &Rows{View: v, id: id, all: all, jobs: map[string]bool{}, past: admit.PastOf(v, id, all), values: map[placed]bool{}}
}

// SeesPartition reports whether the caller sees all of a partition.
func (r *Rows) SeesPartition(path string) bool {
	return r.all || auth.May(r.id, auth.ReadLogs, auth.Object{Partition: path}) == nil
}

// SeesTask reports whether the caller sees a task.
func (r *Rows) SeesTask(t *api.Task) bool {
	if r.all {
		return true
	}
	sees, asked := r.jobs[t.Job]
	if !asked {
		j := r.View.Job(t.Job)
		sees = j != nil && r.seesJob(j)
		r.jobs[t.Job] = sees
	}
	return sees
}

func (r *Rows) seesJob(j *api.Job) bool {
	return r.all || auth.May(r.id, auth.ReadLogs, auth.Object{Partition: j.Spec.Partition, Job: cmp.Or(j.Spec.Name, j.ID)}) == nil
}

// SeesFramework reports whether the caller sees a framework.
func (r *Rows) SeesFramework(f *api.Framework) bool {
	return r.all || slices.ContainsFunc(f.Partitions, r.SeesPartition) || slices.ContainsFunc(r.View.FrameworkJobs(f.ID), r.seesJob)
}
