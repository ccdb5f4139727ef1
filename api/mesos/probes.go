package mesos

import (
	"cmp"
	"math"
	"time"

	"github.com/mesita/mesita/api"
	v1 "github.com/mesita/mesita/api/mesos/v1"
)

// validTiming refuses times of a check that cannot be.
func validTiming(delay, interval, timeout float64) error {
	for _, f := range []struct {
		name string
		v    float64
	}{{"delay_seconds", delay}, {"interval_seconds", interval}, {"timeout_seconds", timeout}} {
		if f.v < 0 || math.IsNaN(f.v) {
			return wrong("Expecting '%s' to be non-negative", f.name)
		}
	}
	return nil
}

// validCheck is in the words of Mesos.
func validCheck(c *v1.CheckInfo) error {
	if c == nil {
		return nil
	}
	switch {
	case c.Type == nil:
		return wrong("CheckInfo must specify 'type'")
	case *c.Type == v1.CheckInfoTypeCommand && c.Command == nil:
		return wrong("Expecting 'command' to be set for COMMAND check")
	case *c.Type == v1.CheckInfoTypeCommand:
		if err := validProbeCommand(c.Command.Command, "COMMAND check"); err != nil {
			return err
		}
	case *c.Type == v1.CheckInfoTypeHTTP && c.HTTP == nil:
		return wrong("Expecting 'http' to be set for HTTP check")
	case *c.Type == v1.CheckInfoTypeHTTP && v1.Get(c.HTTP.Path) != "" && (*c.HTTP.Path)[0] != '/':
		return wrong("The path '%s' of HTTP check must start with '/'", *c.HTTP.Path)
	case *c.Type == v1.CheckInfoTypeTCP && c.TCP == nil:
		return wrong("Expecting 'tcp' to be set for TCP check")
	case *c.Type != v1.CheckInfoTypeHTTP && *c.Type != v1.CheckInfoTypeTCP:
		return wrong("'%s' is not a valid check type", *c.Type)
	}
	return validTiming(c.GetDelaySeconds(), c.GetIntervalSeconds(), c.GetTimeoutSeconds())
}

// validHealthCheck is in the words of Mesos.
func validHealthCheck(h *v1.HealthCheck) error {
	if h == nil {
		return nil
	}
	switch {
	case h.Type == nil:
		return wrong("HealthCheck must specify 'type'")
	case *h.Type == v1.HealthCheckTypeCommand && h.Command == nil:
		return wrong("Expecting 'command' to be set for COMMAND health check")
	case *h.Type == v1.HealthCheckTypeCommand:
		if err := validProbeCommand(h.Command, "COMMAND health check"); err != nil {
			return err
		}
	case *h.Type == v1.HealthCheckTypeHTTP && h.HTTP == nil:
		return wrong("Expecting 'http' to be set for HTTP health check")
	case *h.Type == v1.HealthCheckTypeHTTP && h.HTTP.Scheme != nil && *h.HTTP.Scheme != "http" && *h.HTTP.Scheme != "https":
		return wrong("Unsupported HTTP health check scheme: '%s'", *h.HTTP.Scheme)
	case *h.Type == v1.HealthCheckTypeHTTP && v1.Get(h.HTTP.Path) != "" && (*h.HTTP.Path)[0] != '/':
		return wrong("The path '%s' of HTTP health check must start with '/'", *h.HTTP.Path)
	case *h.Type == v1.HealthCheckTypeTCP && h.TCP == nil:
		return wrong("Expecting 'tcp' to be set for TCP health check")
	case *h.Type != v1.HealthCheckTypeHTTP && *h.Type != v1.HealthCheckTypeTCP:
		return wrong("'%s' is not a valid health check type", *h.Type)
	}
	if g := h.GetGracePeriodSeconds(); g < 0 || math.IsNaN(g) {
		return wrong("Expecting 'grace_period_seconds' to be non-negative")
	}
	return validTiming(h.GetDelaySeconds(), h.GetIntervalSeconds(), h.GetTimeoutSeconds())
}

func validProbeCommand(c *v1.CommandInfo, what string) error {
	if c == nil || v1.Get(c.Value) == "" {
		return wrong("Command health check must contain 'value' for %s", what)
	}
	return validCommand(c)
}

// asItself refuses commands of checks that are to be another user than the task is: whether
// its framework may be that was asked of the task's alone.
func asItself(t *v1.TaskInfo, s *api.JobSpec) error {
	commands := map[string]*v1.CommandInfo{}
	if t.HealthCheck != nil {
		commands["health_check.command"] = t.HealthCheck.Command
	}
	if t.Check != nil && t.Check.Command != nil {
		commands["check.command.command"] = t.Check.Command.Command
	}
	for field, c := range commands {
		if c != nil && v1.Get(c.User) != "" && *c.User != s.User {
			return wrong("'%s.user' is '%s', and the task runs as '%s': leave it out, as checks run as the task does", field, *c.User, s.RunsAs())
		}
	}
	return nil
}

// The least that a check may ask for, as a look costs its node a process, and the longest.
const (
	leastPause = 100 * time.Millisecond
	mostTime   = 24 * time.Hour
)

func span(seconds float64) time.Duration {
	return time.Duration(min(seconds, mostTime.Seconds()) * float64(time.Second))
}

// probe is what all checks have.
func probe(kind api.ProbeKind, delay, interval, timeout float64) api.Probe {
	return api.Probe{Kind: kind, Delay: api.Duration(span(delay)), Interval: api.Duration(max(span(interval), leastPause)), Timeout: api.Duration(max(span(timeout), time.Millisecond))}
}

// command has a check run that command.
func (l *launcher) command(p *api.Probe, c *v1.CommandInfo) {
	p.Command = argsOf(c)
	if c.Environment != nil {
		p.Env = map[string]string{}
		for _, v := range c.Environment.Variables {
			p.Env[v.Name] = v1.Get(v.Value)
		}
	}
}

func (l *launcher) checkOf(c *v1.CheckInfo) *api.Probe {
	if c == nil {
		return nil
	}
	p := probe("", c.GetDelaySeconds(), c.GetIntervalSeconds(), c.GetTimeoutSeconds())
	switch *c.Type {
	case v1.CheckInfoTypeCommand:
		p.Kind = api.ProbeCommand
		l.command(&p, c.Command.Command)
	case v1.CheckInfoTypeHTTP:
		p.Kind, p.Port, p.Scheme, p.Path = api.ProbeHTTP, int(c.HTTP.Port), "http", cmp.Or(v1.Get(c.HTTP.Path), "/")
	default:
		p.Kind, p.Port = api.ProbeTCP, int(c.TCP.Port)
	}
	return &p
}

func (l *launcher) healthOf(h *v1.HealthCheck) *api.HealthCheck {
	if h == nil {
		return nil
	}
	p := probe("", h.GetDelaySeconds(), h.GetIntervalSeconds(), h.GetTimeoutSeconds())
	switch *h.Type {
	case v1.HealthCheckTypeCommand:
		p.Kind = api.ProbeCommand
		l.command(&p, h.Command)
	case v1.HealthCheckTypeHTTP:
		p.Kind, p.Port, p.Scheme, p.Path = api.ProbeHTTP, int(h.HTTP.Port), cmp.Or(v1.Get(h.HTTP.Scheme), "http"), cmp.Or(v1.Get(h.HTTP.Path), "/")
		p.IPv6 = v1.Get(h.HTTP.Protocol) == v1.NetworkInfoProtocolIPv6
		for _, s := range h.HTTP.Statuses {
			p.Statuses = append(p.Statuses, int(min(s, 1000)))
		}
	default:
		p.Kind, p.Port, p.IPv6 = api.ProbeTCP, int(h.TCP.Port), v1.Get(h.TCP.Protocol) == v1.NetworkInfoProtocolIPv6
	}
	return &api.HealthCheck{Probe: p, Grace: api.Duration(span(h.GetGracePeriodSeconds())), Failures: int(min(max(h.GetConsecutiveFailures(), 1), 1_000_000))}
}
