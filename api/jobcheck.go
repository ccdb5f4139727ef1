package api

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// This file checks a spec by itself.

// MaxStopGrace is the longest that a task may have to end.
const MaxStopGrace = Duration(24 * time.Hour)

// Validate checks a normalized spec. The error names the field.
func (s *JobSpec) Validate() error {
	switch {
	case len(s.Fetch) > 0:
		return FieldErrorf("fetch", "is for tasks of frameworks: use files, or fetch in the command")
	case s.Check != nil:
		return FieldErrorf("check", "is for tasks of frameworks")
	case s.Health != nil:
		return FieldErrorf("health", "is for tasks of frameworks")
	case s.TTY != nil:
		return FieldErrorf("tty", "is for tasks of frameworks")
	case len(s.Volumes) > 0:
		return FieldErrorf("volumes", "are for tasks of frameworks")
	}
	return s.validateWith(s.noCommand())
}

// ValidateOfFramework checks that of a framework's task with a command, which may have
// more than that of a job.
func (s *JobSpec) ValidateOfFramework() error {
	if err := s.validateFetches(); err != nil {
		return err
	}
	if err := s.validateChecks(); err != nil {
		return err
	}
	if err := s.validateVolumes(); err != nil {
		return err
	}
	return s.validateWith(s.noCommand())
}

// ValidateHosted checks that of a task which its framework's executor runs: it has no
// program of its own.
func (s *JobSpec) ValidateHosted() error {
	if len(s.Command) > 0 || s.Program != "" || len(s.Files) > 0 || len(s.Fetch) > 0 || s.Check != nil || s.Health != nil || s.TTY != nil || len(s.Volumes) > 0 {
		return s.validateWith(FieldErrorf("command", "is the executor's to say: leave command, program, files, fetch, checks, tty and volumes out"))
	}
	return s.validateWith(nil)
}

func (s *JobSpec) noCommand() error {
	if len(s.Command) == 0 || s.Command[0] == "" {
		return FieldErrorf("command", "is empty: give the program and its arguments")
	}
	return nil
}

func (s *JobSpec) validateWith(command error) error {
	if s.Name != "" || s.Kind == KindService {
		if err := ValidateName("name", s.Name); err != nil {
			return err
		}
		if _, err := strconv.Atoi(s.Name); err == nil {
			return FieldErrorf("name", "%q is a number, and numbers are the ids of unnamed jobs: add a letter", s.Name)
		}
	}
	if err := ValidatePartition("partition", s.Partition); err != nil {
		return err
	}
	if s.Priority < -MaxPriority || s.Priority > MaxPriority {
		return FieldErrorf("priority", "%d is not within -%d to %d", s.Priority, MaxPriority, MaxPriority)
	}
	if err := validatePairs("labels", "label", s.Labels); err != nil {
		return err
	}
	if err := s.validateKind(); err != nil {
		return err
	}
	if command != nil {
		return command
	}
	if err := s.TaskSpec.validate(); err != nil {
		return err
	}
	if err := s.Request.validate(); err != nil {
		return err
	}
	return s.validateUse()
}

// validateUse checks what a task may use beyond what it is guaranteed.
func (t *TaskSpec) validateUse() error {
	if t.CPULimit != 0 && MilliCPU(t.CPULimit) < t.CPUs {
		return FieldErrorf("cpuLimit", "%s is below cpus, the %s that are guaranteed: give at least those, or leave it out", MilliCPU(t.CPULimit), t.CPUs)
	}
	if t.CPULimit > maxCPUs*1000 {
		return FieldErrorf("cpuLimit", "%s is more than mesita counts (%d)", MilliCPU(t.CPULimit), maxCPUs)
	}
	return nil
}

func (s *JobSpec) validateKind() error {
	switch s.Kind {
	case KindService:
		switch {
		case s.Tasks() < 0 || s.Tasks() > MaxCount:
			return FieldErrorf("count", "%d is not within 0 to %d", s.Tasks(), MaxCount)
		case s.Array != "":
			return FieldErrorf("array", "is for batch jobs; use count for a service")
		case s.Gang != 0:
			return FieldErrorf("gang", "is for batch jobs; use count for a service")
		case s.Retries != 0:
			return FieldErrorf("retries", "is for batch jobs; use restart.attempts for a service")
		case s.Time != 0:
			return FieldErrorf("time", "is for batch jobs: a service has no end")
		}
	case KindBatch:
		switch {
		case s.Count != nil:
			return FieldErrorf("count", "is for services; use array for a batch job")
		case s.Gang < 0 || s.Gang > MaxGang:
			return FieldErrorf("gang", "%d is not within 1 to %d", s.Gang, MaxGang)
		case s.Gang > 0 && s.Array != "":
			return FieldErrorf("gang", "is a number of tasks of its own: leave array out")
		case s.Retries < 0 || s.Retries > maxRetries:
			return FieldErrorf("retries", "%d is not within 0 to %d", s.Retries, maxRetries)
		case s.Time < 0:
			return FieldErrorf("time", "is negative: give a span such as 20m")
		case s.Time != 0 && s.Time < minTime:
			return FieldErrorf("time", "%s is less than %s, in which nothing runs: give a span such as 20m", s.Time, minTime)
		}
		_, _, err := s.Indexes()
		return err
	default:
		return FieldErrorf("kind", "%s jobs cannot be submitted: use service or batch", s.Kind)
	}
	return nil
}

func (t *TaskSpec) validate() error {
	if len(t.Command) > maxArgs {
		return FieldErrorf("command", "has %d words, at most %d are allowed", len(t.Command), maxArgs)
	}
	if err := t.validateText(); err != nil {
		return err
	}
	if err := t.validateFiles(); err != nil {
		return err
	}
	if t.Dir != "" && !strings.HasPrefix(t.Dir, "/") {
		return FieldErrorf("dir", "%.64q is not absolute: begin it with /", t.Dir)
	}
	if strings.ContainsRune(t.Dir, 0) || len(t.Dir) > maxPath {
		return FieldErrorf("dir", "%.64q is not a folder: a path has no NUL character, and at most %d bytes", t.Dir, maxPath)
	}
	if err := t.validateProcess(); err != nil {
		return err
	}
	return t.validateLimits()
}

// validateText checks the command and the environment. What the kernel takes of
// them is in execve(2): so many bytes for each string, and for all of them a
// quarter of the stack that the program may have.
func (t *TaskSpec) validateText() error {
	size, pointers := 0, maxOwnText
	for _, a := range t.Command {
		long := len(a) + 1 + maxExpanded*strings.Count(a, "{")
		switch {
		case strings.ContainsRune(a, 0):
			return FieldErrorf("command", "has a NUL character")
		case long > maxString:
			return FieldErrorf("command", "has a word of %d bytes, and Linux starts no program with one of more than %d: put it in a file", len(a), maxString-1)
		}
		size, pointers = size+len(a), pointers+long-len(a)+8
	}
	for k, v := range t.Env {
		switch long := len(k) + len(v) + 2; {
		case k == "" || strings.ContainsAny(k, "=\x00") || strings.ContainsRune(v, 0):
			return FieldErrorf("env", "%q is not a variable name", k)
		case long > maxString:
			return FieldErrorf("env", "%s has a value of %d bytes, and Linux starts no program with one of more than %d: put it in a file, and its name here", k, len(v), maxString-2-len(k))
		}
		size, pointers = size+len(k)+len(v), pointers+2+8
	}
	if size > maxSpecText {
		return FieldErrorf("command", "command and env have %d bytes, at most %d are allowed", size, maxSpecText)
	}
	for _, u := range t.Ulimits {
		if most := max(u.Soft/4, 128<<10); u.Name == "stack" && u.Soft >= 0 && int64(size+pointers) > most {
			return FieldErrorf("ulimits", "stack=%d leaves %d bytes for command and env, which have %d: ask for a stack of %d or more", u.Soft, most, size+pointers, 4*(size+pointers))
		}
	}
	return nil
}

func (t *TaskSpec) validateLimits() error {
	if !slices.Contains(stopSignals, t.StopSignal) {
		return FieldErrorf("stopSignal", "%q is none of %s", t.StopSignal, strings.Join(stopSignals, ", "))
	}
	if t.NoticeSignal != "" && !slices.Contains(noticeSignals, t.NoticeSignal) {
		return FieldErrorf("noticeSignal", "%q is none of %s: leave it out to be told by the file alone that MESITA_NOTICE names", t.NoticeSignal, strings.Join(noticeSignals, ", "))
	}
	for _, f := range []struct {
		name string
		d    Duration
	}{{"stopGrace", t.StopGrace}, {"restart.delay", t.Restart.Delay}, {"restart.maxDelay", t.Restart.MaxDelay}} {
		if f.d < 0 || f.d > MaxStopGrace {
			return FieldErrorf(f.name, "%s is not within 0s to 24h", f.d)
		}
	}
	if t.Restart.Attempts < 0 {
		return FieldErrorf("restart.attempts", "is negative: 0 means never give up")
	}
	if t.LogMax < 64<<10 || t.LogMax > 10<<30 {
		return FieldErrorf("logMax", "%s is not within 64KiB to 10GiB", t.LogMax)
	}
	if t.Pids < 1 || t.Pids > 1<<22 {
		return FieldErrorf("pids", "%d is not within 1 to %d", t.Pids, 1<<22)
	}
	return t.validatePlace()
}

func (r *Request) validate() error {
	if r.CPUs <= 0 {
		return FieldErrorf("cpus", "%s is not above zero", r.CPUs)
	}
	if r.Pin && r.CPUs%1000 != 0 {
		return FieldErrorf("cpus", "%s is not a whole number, and pin gives a task whole CPUs of its own: give 1 or more of them, or leave pin out", r.CPUs)
	}
	if r.Mem < 1<<20 {
		return FieldErrorf("mem", "%s is below the least a process needs, 1MiB", r.Mem)
	}
	if r.MemLimit > maxBytes {
		return FieldErrorf("memLimit", "%s is more than mesita counts (%s)", r.MemLimit, Bytes(maxBytes))
	}
	if r.MemLimit != 0 && r.MemLimit < r.Mem {
		return FieldErrorf("memLimit", "%s is below mem, the %s that are guaranteed: give at least those, or leave it out", r.MemLimit, r.Mem)
	}
	if err := (Resources{CPUs: r.CPUs, Mem: r.Mem, Disk: r.Disk, GPUs: r.GPUs, Custom: r.Custom}).Validate(); err != nil {
		return err
	}
	if len(r.Ports) > 64 {
		return FieldErrorf("ports", "has %d entries, at most 64 are allowed", len(r.Ports))
	}
	for i, p := range r.Ports {
		if err := ValidateName("ports", p.Name); err != nil {
			return err
		}
		if p.Port < 0 || p.Port > 65535 {
			return FieldErrorf("ports", "%s: %d is not a port: 1 to 65535, or 0 for any", p.Name, p.Port)
		}
		for _, q := range r.Ports[:i] {
			if q.Name == p.Name {
				return FieldErrorf("ports", "%q is given twice", p.Name)
			}
			if p.Port != 0 && q.Port == p.Port {
				return FieldErrorf("ports", "%d is given twice, for %q and %q", p.Port, q.Name, p.Name)
			}
		}
	}
	return nil
}
