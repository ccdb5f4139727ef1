package node

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/mesos/rows"
	v1 "github.com/mesita/mesita/api/mesos/v1"
)

// Container is how Mesos calls where an attempt of a task runs.
func Container(t *api.Task) string { return container(t) }

// container is how Mesos calls where an attempt of a task runs.
func container(t *api.Task) string { return t.ID + "-" + strconv.Itoa(t.Attempt) }

// find is the attempt whose container that is, also one that has ended, nil if there is
// none.
func (s *Server) find(id string) *api.Assignment {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.assigned[id]; a != nil {
		return a
	}
	for _, a := range slices.Backward(s.recent) {
		if container(a.Task) == id {
			return a
		}
	}
	return s.remembered(id)
}

// remembered is an attempt that ended before this daemon began, as far as this node has the
// state.
func (s *Server) remembered(id string) *api.Assignment {
	i := strings.LastIndexByte(id, '-')
	v := s.Store.View()
	if i < 0 || v == nil {
		return nil
	}
	t := v.Task(id[:i])
	if t == nil || t.NodeID != s.Cluster.NodeID() || strconv.Itoa(t.Attempt) != id[i+1:] {
		return nil
	}
	j := v.Job(t.Job)
	if j == nil {
		return nil
	}
	spec := j.SpecFor(t)
	if spec == nil {
		return nil
	}
	return &api.Assignment{Task: t, Spec: &spec.TaskSpec}
}

// all are the attempts that this node is to run and the caller sees, by their containers.
func (s *Server) all(c *exchange.Call) []*api.Assignment {
	s.mu.Lock()
	out := make([]*api.Assignment, 0, len(s.assigned))
	for _, a := range s.assigned {
		out = append(out, a)
	}
	s.mu.Unlock()
	out = slices.DeleteFunc(out, func(a *api.Assignment) bool { return !s.sees(c, a.Task) })
	slices.SortFunc(out, func(a, b *api.Assignment) int { return cmp.Compare(container(a.Task), container(b.Task)) })
	return out
}

// parts are the values of a container and of those around it, the outermost first.
func parts(id *v1.ContainerID) []string {
	var out []string
	for ; id != nil; id = id.Parent {
		if out = append(out, id.Value); len(out) > maxDepth+1 {
			break
		}
	}
	slices.Reverse(out)
	return out
}

// maxDepth is how deep containers nest: a command beside a task.
const maxDepth = 2

func keyOf(id *v1.ContainerID) string { return strings.Join(parts(id), "/") }

// named is how errors call a container, as Mesos does.
func named(id *v1.ContainerID) string { return strings.Join(parts(id), ".") }

// wanted is the attempt or the command beside one that a call is about; 404 if the caller
// sees none.
func (s *Server) wanted(c *exchange.Call, id *v1.ContainerID) (*api.Assignment, *nested, error) {
	p := parts(id)
	if len(p) > maxDepth {
		return nil, nil, missing(id)
	}
	a := s.find(p[0])
	if a == nil || !s.sees(c, a.Task) {
		return nil, nil, s.hidden(c, missing(id))
	}
	c.Subject = exchange.Subject{Object: a.Task.ID, Partition: a.Task.Partition, Asked: named(id)}
	if !s.reads(c, a.Task) {
		return nil, nil, forbidden(ofBefore(a.Task))
	}
	if len(p) == 1 {
		return a, nil, nil
	}
	s.mu.Lock()
	n := s.nested[keyOf(id)]
	s.mu.Unlock()
	if n == nil {
		return nil, nil, missing(id)
	}
	return a, n, nil
}

// executorName is by what id Mesos knows the executor of a task: that of a command is its
// own.
func executorName(t *api.Task) string { return cmp.Or(rows.ExecutorID(t), rows.TaskID(t)) }
