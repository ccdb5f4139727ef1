package legacy

import (
	"iter"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/mesos/rows"
	v1 "github.com/mesita/mesita/api/mesos/v1"
)

// page is an answer that is written: what its reader sees of one view.
type page struct {
	*writer
	*rows.Rows
	of        *legacy
	call      *exchange.Call
	query     *exchange.Query
	info      *v1.MasterInfo // nil on a node that does not lead
	since     time.Time      // it leads
	addresses map[string]string
}

// arg is what one page is about: a parameter, or the end of the path.
func (p *page) arg(name string) string {
	if s := p.query.Text(name); s != "" {
		return s
	}
	return p.call.Args[0]
}

// tasks are those that the caller sees and that have or had a node.
func (p *page) tasks() iter.Seq[*api.Task] {
	return func(yield func(*api.Task) bool) {
		for j := range p.View.Jobs() {
			if !p.jobTasks(j, yield) {
				return
			}
		}
	}
}

func (p *page) jobTasks(j *api.Job, yield func(*api.Task) bool) bool {
	for t := range p.View.MadeTasks(j.ID) {
		if !p.SeesTask(t) {
			break // of one job all or none
		}
		if t.NodeID != "" && !yield(t) {
			return false
		}
	}
	return true
}

// tasksOf are those of a framework.
func (p *page) tasksOf(g *program) iter.Seq[*api.Task] {
	return func(yield func(*api.Task) bool) {
		if g.Framework != nil {
			for _, j := range p.View.FrameworkJobs(g.ID) {
				if !p.jobTasks(j, yield) {
					return
				}
			}
			return
		}
		for j := range p.View.Jobs() {
			if j.Framework == "" && !p.jobTasks(j, yield) {
				return
			}
		}
	}
}
