package rows

import (
	"cmp"
	"net/url"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/admit"
	"github.com/mesita/mesita/api/auth"
	v1 "github.com/mesita/mesita/api/mesos/v1"
)

// A Grade is how much of a task its reader is told: readers of one grade are told the same.
type Grade uint8

const (
	withValues Grade = 1 << iota // of environments, and all else that may be a secret
	withEnd                      // why the attempt ended, or the one before

	// Grades is how many there are.
	Grades = 1 << iota
)

// Grade is how much of a task the caller is told.
func (r *Rows) Grade(t *api.Task) (g Grade) {
	if r.SeesValues(t) {
		g |= withValues
	}
	if !r.untold(t) {
		g |= withEnd
	}
	return g
}

// SeesValues reports whether the caller may read what a task was given that may be a secret.
func (r *Rows) SeesValues(t *api.Task) bool {
	key := placed{t.Job, t.Partition}
	sees, asked := r.values[key]
	if !asked {
		j := r.View.Job(t.Job)
		sees = j != nil && auth.May(r.id, auth.ReadValues, admit.Object(r.View, t.Partition, cmp.Or(j.Spec.Name, j.ID))) == nil
		r.values[key] = sees
	}
	return sees
}

// placed is a job in a partition.
type placed struct{ job, partition string }

// untold reports whether how a task ended is of where the caller does not see its job.
func (r *Rows) untold(t *api.Task) bool { return r.past.Untold(r.View.Job(t.Job), t) }

// SeesAttempt reports whether the caller sees the job of a task where it was in that attempt.
func (r *Rows) SeesAttempt(t *api.Task) bool { return r.past.RanHere(t) }

// MaskExecutor leaves out of an executor what may be a secret.
func MaskExecutor(m *v1.ExecutorInfo) {
	m.Data = nil
	maskCommand(m.Command)
	maskContainer(m.Container)
}

func maskTask(m *v1.Task) {
	maskContainer(m.Container)
	if m.HealthCheck != nil {
		maskCommand(m.HealthCheck.Command)
	}
}

func maskCommand(m *v1.CommandInfo) {
	if m == nil {
		return
	}
	for _, u := range m.URIs {
		u.Value = bare(u.Value)
	}
	if m.Environment != nil {
		for _, x := range m.Environment.Variables {
			x.Value, x.Secret = new(api.Masked), nil
		}
	}
}

// bare is an address without who asks there, and for what.
func bare(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Opaque != "" {
		return api.Masked
	}
	u.User, u.RawQuery, u.ForceQuery, u.Fragment, u.RawFragment = nil, "", false, "", ""
	return u.String()
}

func maskContainer(m *v1.ContainerInfo) {
	if m == nil {
		return
	}
	if m.Docker != nil {
		for _, p := range m.Docker.Parameters { // as for the command line of docker, such as env
			p.Value = api.Masked
		}
	}
	if m.Mesos != nil {
		maskImage(m.Mesos.Image)
	}
	for _, v := range m.Volumes {
		maskImage(v.Image)
		if s := v.Source; s != nil {
			s.Secret = nil
			if s.DockerVolume != nil {
				s.DockerVolume.DriverOptions = nil
			}
		}
	}
}

func maskImage(m *v1.Image) {
	if m != nil && m.Docker != nil {
		m.Docker.Credential, m.Docker.Config = nil, nil
	}
}
