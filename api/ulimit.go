package api

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// Ulimit bounds what each process of a task may take of one resource, in the
// unit of setrlimit(2): bytes, seconds or a number. Unlimited is not a bound.
type Ulimit struct {
	Extra
	Name string `json:"name"`
	Soft int64  `json:"soft"`
	Hard int64  `json:"hard"`
}

// Keys says what the fields are, in their order.
func (Ulimit) Keys() []Key {
	return []Key{
		key("name", "the resource: "+strings.Join(UlimitNames, ", "), "", "nofile"),
		key("soft", "the bound, which a process can raise itself up to hard; -1 = none", "", "1024"),
		key("hard", "the most it can raise it to; -1 = none", "", "4096"),
	}
}

// Unlimited is the value of a Ulimit without a bound.
const Unlimited = -1

// UlimitNames are the resources that a Ulimit may name.
var UlimitNames = []string{"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack"}

// MinNice and MaxNice bound the nice value of a task.
const (
	MinNice = -20
	MaxNice = 19
)

// ParseUlimit reads "nofile=1024:4096", soft and hard, or one for both.
func ParseUlimit(s string) (Ulimit, error) {
	name, rest, ok := strings.Cut(s, "=")
	soft, hard, two := strings.Cut(rest, ":")
	if !two {
		hard = soft
	}
	u := Ulimit{Name: name}
	var err1, err2 error
	u.Soft, err1 = parseBound(soft)
	u.Hard, err2 = parseBound(hard)
	if !ok || err1 != nil || err2 != nil {
		return u, FieldErrorf("ulimits", "%q is not a limit: write nofile=1024:4096 or core=unlimited", s)
	}
	return u, u.validate()
}

func parseBound(s string) (int64, error) {
	if s == "unlimited" {
		return Unlimited, nil
	}
	return strconv.ParseInt(s, 10, 64)
}

func (u Ulimit) validate() error {
	switch {
	case !slices.Contains(UlimitNames, u.Name):
		return FieldErrorf("ulimits", "%q is none of %s", u.Name, strings.Join(UlimitNames, ", "))
	case u.Soft < Unlimited || u.Hard < Unlimited:
		return FieldErrorf("ulimits", "%s is negative: write unlimited for no bound", u.Name)
	case bound(u.Soft) > bound(u.Hard):
		return FieldErrorf("ulimits", "%s has a soft limit above its hard one: write nofile=SOFT:HARD", u.Name)
	}
	return nil
}

func bound(v int64) uint64 {
	if v == Unlimited {
		return math.MaxUint64
	}
	return uint64(v)
}

// validateProcess checks as whom a task's processes run, and what bounds each.
func (t *TaskSpec) validateProcess() error {
	if err := validateUser("user", t.User); err != nil {
		return err
	}
	if t.Nice < MinNice || t.Nice > MaxNice {
		return FieldErrorf("nice", "%d is not within %d to %d", t.Nice, MinNice, MaxNice)
	}
	for i, u := range t.Ulimits {
		if err := u.validate(); err != nil {
			return err
		}
		if slices.ContainsFunc(t.Ulimits[:i], func(v Ulimit) bool { return v.Name == u.Name }) {
			return FieldErrorf("ulimits", "%s is given twice", u.Name)
		}
	}
	return t.validateUnconfined()
}

// UnmarshalJSON reads {"name": …, "soft": …, "hard": …} or the short form
// "nofile=1024:4096".
func (u *Ulimit) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		v, err := ParseUlimit(unquote(b))
		*u = v
		return err
	}
	type plain Ulimit
	return strictUnmarshal(b, (*plain)(u))
}

// String writes what ParseUlimit reads.
func (u Ulimit) String() string {
	text := func(v int64) string {
		if v < 0 {
			return "unlimited"
		}
		return strconv.FormatInt(v, 10)
	}
	if u.Soft == u.Hard {
		return u.Name + "=" + text(u.Soft)
	}
	return u.Name + "=" + text(u.Soft) + ":" + text(u.Hard)
}
