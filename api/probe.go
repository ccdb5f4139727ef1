package api

import (
	"slices"
	"strings"
	"time"
)

// ProbeKind is how a task is looked at while it runs.
type ProbeKind string

// The kinds of checks.
const (
	ProbeCommand ProbeKind = "command" // a program beside the task exits with 0
	ProbeHTTP    ProbeKind = "http"    // it answers a request
	ProbeTCP     ProbeKind = "tcp"     // it takes a connection
)

// Probe is how a running task is looked at again and again, and what is found is told.
type Probe struct {
	Extra
	Kind     ProbeKind         `json:"kind"`
	Command  []string          `json:"command,omitempty"`
	Env      map[string]string `json:"env,omitempty"` // of the command, on top of the task's
	Port     int               `json:"port,omitempty"`
	IPv6     bool              `json:"ipv6,omitempty"` // the port is asked at ::1
	Scheme   string            `json:"scheme,omitempty"`
	Path     string            `json:"path,omitempty"`
	Statuses []int             `json:"statuses,omitempty"` // that are an answer as it should be; none: 200 to 399
	Delay    Duration          `json:"delay,omitempty"`    // until the first look
	Interval Duration          `json:"interval,omitempty"` // between two looks
	Timeout  Duration          `json:"timeout,omitempty"`  // of one look
}

// HealthCheck is a check by which it is decided whether a task is healthy. One that is
// not is killed.
type HealthCheck struct {
	Probe
	Grace    Duration `json:"grace,omitempty"`    // after its start failures do not count
	Failures int      `json:"failures,omitempty"` // in a row, after which it is killed
}

// ProbeStatus is what a check of a task found last.
type ProbeStatus struct {
	Extra
	Kind ProbeKind `json:"kind"`
	Code *int      `json:"code,omitempty"` // the exit code of its command, or the status of the answer; nil = none came
	Open *bool     `json:"open,omitempty"` // of a port: it took the connection; nil = nobody knows yet
}

// Equal reports whether two looks found the same.
func (s *ProbeStatus) Equal(o *ProbeStatus) bool {
	if s == nil || o == nil {
		return s == o
	}
	return s.Kind == o.Kind && same(s.Code, o.Code) && same(s.Open, o.Open)
}

func same[T comparable](a, b *T) bool { return a == b || a != nil && b != nil && *a == *b }

// The bounds of checks.
const (
	minCheckPause = Duration(100 * time.Millisecond) // a look costs its node a process
	maxCheckTime  = Duration(24 * time.Hour)
	maxStatuses   = 64
	maxFailures   = 1_000_000
)

func (t *TaskSpec) validateChecks() error {
	if t.Health != nil {
		if err := t.Health.validate("health"); err != nil {
			return err
		}
		switch {
		case t.Health.Failures < 1 || t.Health.Failures > maxFailures:
			return FieldErrorf("health.failures", "%d is not within 1 to %d", t.Health.Failures, maxFailures)
		case t.Health.Grace < 0 || t.Health.Grace > maxCheckTime:
			return FieldErrorf("health.grace", "%s is not within 0s to 24h", t.Health.Grace)
		}
	}
	if t.Check != nil {
		return t.Check.validate("check")
	}
	return nil
}

func (c *Probe) validate(field string) error {
	switch c.Kind {
	case ProbeCommand:
		if len(c.Command) == 0 || c.Command[0] == "" {
			return FieldErrorf(field+".command", "is empty: give the program and its arguments")
		}
		as := TaskSpec{Command: c.Command, Env: c.Env}
		if err := as.validateText(); err != nil {
			return InField(field, err)
		}
	case ProbeHTTP, ProbeTCP:
		if c.Port < 1 || c.Port > 65535 {
			return FieldErrorf(field+".port", "%d is not a port: 1 to 65535", c.Port)
		}
	default:
		return FieldErrorf(field+".kind", "%q is none of %s, %s and %s", c.Kind, ProbeCommand, ProbeHTTP, ProbeTCP)
	}
	switch {
	case c.Kind == ProbeHTTP && c.Scheme != "http" && c.Scheme != "https":
		return FieldErrorf(field+".scheme", "%q is neither http nor https", c.Scheme)
	case c.Kind == ProbeHTTP && (!strings.HasPrefix(c.Path, "/") || len(c.Path) > maxPath || strings.ContainsFunc(c.Path, func(r rune) bool { return r <= ' ' || r == 0x7f })):
		return FieldErrorf(field+".path", "%.64q is not a path of a URL: begin it with /", c.Path)
	case len(c.Statuses) > maxStatuses || slices.ContainsFunc(c.Statuses, func(n int) bool { return n < 100 || n > 599 }):
		return FieldErrorf(field+".statuses", "has to be at most %d of 100 to 599", maxStatuses)
	case c.Delay < 0 || c.Delay > maxCheckTime:
		return FieldErrorf(field+".delay", "%s is not within 0s to 24h", c.Delay)
	case c.Interval < minCheckPause || c.Interval > maxCheckTime:
		return FieldErrorf(field+".interval", "%s is not within %s to 24h", c.Interval, minCheckPause)
	case c.Timeout <= 0 || c.Timeout > maxCheckTime:
		return FieldErrorf(field+".timeout", "%s is not above 0s, and at most 24h", c.Timeout)
	}
	return nil
}
