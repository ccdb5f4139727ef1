package api

import (
	"fmt"
	"strings"
)

// RemedyKind is what would have to change.
type RemedyKind string

// What can be changed so that a task starts in the next pass of the scheduler.
const (
	RemedyTime       RemedyKind = "time"        // the job's --time: it is backfilled
	RemedyRequest    RemedyKind = "request"     // what a task of the job asks for
	RemedyGang       RemedyKind = "gang"        // how many tasks it starts together
	RemedyPriority   RemedyKind = "priority"    // of the job
	RemedyLimit      RemedyKind = "limit"       // of partitions
	RemedyGuarantee  RemedyKind = "guarantee"   // of the partition: others are preempted
	RemedyResume     RemedyKind = "resume"      // of a node that is being drained
	RemedyMaxRunning RemedyKind = "max-running" // how many tasks partitions let run, in all or of one user
	RemedyRelease    RemedyKind = "release"     // of the job, which is on hold
)

// Remedy is one change that was tried on a copy of the state: with it, and
// nothing else changed, the task starts in the next pass, and with less of it it
// does not.
type Remedy struct {
	Kind     RemedyKind      `json:"kind"`
	Time     Duration        `json:"time,omitempty"`
	Request  Amounts         `json:"request,omitzero"` // what it does not name stays
	MemLimit Bytes           `json:"memLimit,omitempty"`
	Gang     int             `json:"gang,omitempty"`
	Priority int             `json:"priority,omitempty"`
	Shares   []RemedyShare   `json:"shares,omitempty"`  // all of them at once
	Running  []RemedyRunning `json:"running,omitempty"` // likewise
	Node     string          `json:"node,omitempty"`    // to resume, or where the task would start
	Job      string          `json:"job,omitempty"`     // that is set or released; "" = it has to be submitted anew
}

// Set is what JobSet is to be asked for to do it; false: it cannot be done so.
func (r Remedy) Set() (c JobChange, ok bool) {
	switch r.Kind {
	case RemedyTime:
		c.Time = &r.Time
	case RemedyPriority:
		c.Priority = &r.Priority
	case RemedyRequest:
		for name, v := range r.Request.Each {
			switch name {
			case "cpus":
				c.CPUs = new(MilliCPU(v))
			case "mem":
				c.Mem = new(Bytes(v))
			case "disk":
				c.Disk = new(Bytes(v))
			case "gpus":
				c.GPUs = new(v)
			default:
				if c.Custom == nil {
					c.Custom = map[string]Quantity{}
				}
				c.Custom[name] = Quantity{Scalar: v}
			}
		}
		if r.MemLimit > 0 {
			c.MemLimit = new(r.MemLimit)
		}
	}
	return c, !c.IsZero()
}

// command is the one that does it, after what it comes to.
func (r Remedy) command(flags string) string {
	if r.Job == "" {
		return ""
	}
	return ": mesita job set " + r.Job + " " + flags
}

// RemedyShare is a limit or a guarantee that a partition would have.
type RemedyShare struct {
	Partition string  `json:"partition"`
	Amounts   Amounts `json:"amounts"`
}

// RemedyRunning is how many tasks a partition would let run.
type RemedyRunning struct {
	Partition string `json:"partition"`
	PerUser   bool   `json:"perUser,omitempty"`
	Most      int    `json:"most"`
}

func (r RemedyRunning) String() string {
	flag := "max-running"
	if r.PerUser {
		flag = "max-running-per-user"
	}
	return fmt.Sprintf("mesita partition set %s --%s %d", r.Partition, flag, r.Most)
}

func (r Remedy) String() string {
	on := ""
	if r.Node != "" {
		on = " on " + r.Node
	}
	switch r.Kind {
	case RemedyTime:
		return fmt.Sprintf("would start now with --time %s (backfill)", r.Time) + r.command(fmt.Sprintf("--time %s", r.Time))
	case RemedyRequest:
		return "would start now" + on + " with " + r.flags() + r.command(r.flags())
	case RemedyGang:
		return fmt.Sprintf("would start now with --gang %d, submitted anew: how many start together cannot be set", r.Gang)
	case RemedyPriority:
		return fmt.Sprintf("would start now with --priority %d", r.Priority) + r.command(fmt.Sprintf("--priority %d", r.Priority))
	case RemedyLimit:
		return "would start with a higher limit: " + r.commands("limit")
	case RemedyGuarantee:
		return "a guarantee would take room back from others: " + r.commands("guarantee")
	case RemedyMaxRunning:
		var out []string
		for _, x := range r.Running {
			out = append(out, x.String())
		}
		return "would start now if more tasks might run: " + strings.Join(out, " && ")
	case RemedyRelease:
		return "would start now if its job were released: mesita job release " + r.Job
	case RemedyResume:
		return "would start on " + r.Node + " if that were not draining: mesita node resume " + r.Node
	}
	return string(r.Kind)
}

func (r Remedy) flags() string {
	var out []string
	for name, v := range r.Request.Each {
		switch name {
		case "cpus", "mem", "disk", "gpus":
			out = append(out, "--"+name+" "+ExactAmount(name, v))
		default:
			out = append(out, "--resource "+name+"="+ExactAmount(name, v))
		}
	}
	if r.MemLimit > 0 {
		out = append(out, "--mem-limit "+r.MemLimit.Exact())
	}
	return strings.Join(out, " ")
}

func (r Remedy) commands(flag string) string {
	var out []string
	for _, s := range r.Shares {
		out = append(out, fmt.Sprintf("mesita partition set %s --%s %s", s.Partition, flag, s.Amounts.Exact()))
	}
	return strings.Join(out, " && ")
}
