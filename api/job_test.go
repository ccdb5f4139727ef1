package api

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func goodSpec() *JobSpec {
	s := &JobSpec{Name: "web", Kind: KindService, TaskSpec: TaskSpec{Command: []string{"./server"}}}
	s.Normalize()
	return s
}

func TestSpecValidate(t *testing.T) {
	if err := goodSpec().Validate(); err != nil {
		t.Fatal(err)
	}
	for field, change := range map[string]func(*JobSpec){
		"name":        func(s *JobSpec) { s.Name = "my web" },
		"name ":       func(s *JobSpec) { s.Name = "a/b" },
		"name  ":      func(s *JobSpec) { s.Name = strings.Repeat("x", 300) },
		"name   ":     func(s *JobSpec) { s.Name = "42" },
		"command":     func(s *JobSpec) { s.Command = nil },
		"cpus":        func(s *JobSpec) { s.CPUs = -1 },
		"mem":         func(s *JobSpec) { s.Mem = 5 },
		"count":       func(s *JobSpec) { s.Count = new(-3) },
		"array":       func(s *JobSpec) { s.Array = "0-9" },
		"retries":     func(s *JobSpec) { s.Retries = 1 },
		"kind":        func(s *JobSpec) { s.Kind = KindCron },
		"ports":       func(s *JobSpec) { s.Ports = []PortRequest{{Name: "a", Port: 80}, {Name: "b", Port: 80}} },
		"dir":         func(s *JobSpec) { s.Dir = "tmp" },
		"dir ":        func(s *JobSpec) { s.Dir = "/a\x00b" },
		"dir  ":       func(s *JobSpec) { s.Dir = "/" + strings.Repeat("a", 5000) },
		"user":        func(s *JobSpec) { s.User = "a b" },
		"stopSignal":  func(s *JobSpec) { s.StopSignal = "SIGFOO" },
		"stopGrace":   func(s *JobSpec) { s.StopGrace = -1 },
		"logMax":      func(s *JobSpec) { s.LogMax = 1 },
		"pids":        func(s *JobSpec) { s.Pids = -1 },
		"constraints": func(s *JobSpec) { s.Constraints = []Constraint{{Attr: "zone", Op: "~", Value: "a"}} },
		"env":         func(s *JobSpec) { s.Env = map[string]string{"A=B": "c"} },
		"program":     func(s *JobSpec) { s.Program = "md5:1" },
		"files":       func(s *JobSpec) { s.Files = map[string]string{"a/../b": "x"} },
		"files ":      func(s *JobSpec) { s.Files = map[string]string{"/a": "x"} },
		"files  ":     func(s *JobSpec) { s.Files, s.Dir = map[string]string{"a": "x"}, "/srv" },
		"files   ":    func(s *JobSpec) { s.Files = map[string]string{"a": "x", "a/b/c": "x"} },
		"files    ":   func(s *JobSpec) { s.Files = map[string]string{strings.Repeat("a", maxFileName+1): "x"} },
		"files     ":  func(s *JobSpec) { s.Files = map[string]string{"..": "x"} },
		"files.a":     func(s *JobSpec) { s.Files = map[string]string{"a": "./local"} },
		"files.a ":    func(s *JobSpec) { s.Files = map[string]string{"a": ""} },
		"partition":   func(s *JobSpec) { s.Partition = "a//b" },
	} {
		s := goodSpec()
		change(s)
		var e *Error
		err := s.Validate()
		if err == nil {
			err = s.CheckUploaded()
		}
		if !errors.As(err, &e) || e.Code != CodeInvalid || e.Field != strings.TrimSpace(field) {
			t.Errorf("%s: got %v", field, err)
		}
	}
}

// A time in which nothing can run is a slip, as of a unit.
func TestTimesThatAreTooShort(t *testing.T) {
	for d, good := range map[Duration]bool{0: true, 1: false, Duration(time.Millisecond) - 1: false, Duration(time.Millisecond): true, Duration(time.Hour): true} {
		s := &JobSpec{Kind: KindBatch, TaskSpec: TaskSpec{Command: []string{"/bin/true"}}}
		s.Time = d
		s.Normalize()
		var e *Error
		if err := s.Validate(); (err == nil) != good || err != nil && (!errors.As(err, &e) || e.Field != "time") {
			t.Errorf("%s: got %v", d, err)
		}
	}
}

func TestIndexes(t *testing.T) {
	for array, want := range map[string][2]int{"": {0, 1}, "7": {7, 1}, "0-99": {0, 100}, "5-5": {5, 1}, "8-1000007": {8, 1_000_000}} {
		s := &JobSpec{Kind: KindBatch, Array: array}
		if first, count, err := s.Indexes(); err != nil || first != want[0] || count != want[1] {
			t.Errorf("%q: got %d, %d, %v", array, first, count, err)
		}
	}
	for _, array := range []string{"9-1", "x", "-3", "0-1000000", "7-1000007", "0-1000000000000"} {
		s := &JobSpec{Kind: KindBatch, Array: array}
		if _, _, err := s.Indexes(); err == nil {
			t.Errorf("%q is accepted", array)
		}
	}
	_, _, err := (&JobSpec{Kind: KindBatch, Array: "0-1099999"}).Indexes()
	if err == nil || !strings.Contains(err.Error(), "100000 over the limit of 1000000") {
		t.Errorf("got %v", err)
	}
}

// An attempt moves forward only; nothing follows a final state.
func TestTaskStatesMoveForward(t *testing.T) {
	for from := TaskStaging; from <= TaskUnknown; from++ {
		for to := TaskStaging; to <= TaskUnknown; to++ {
			can := from.CanBecome(to)
			switch {
			case from.Final() && can, from == to && can, to == TaskStaging && can:
				t.Errorf("%s can become %s", from, to)
			case !from.Final() && to.Final() && !can:
				t.Errorf("%s cannot become %s", from, to)
			}
		}
	}
	if TaskRunning.CanBecome(TaskStarting) || !TaskUnreachable.CanBecome(TaskRunning) || !TaskStarting.CanBecome(TaskRunning) {
		t.Error("starting → running → unreachable → running is the way")
	}
}

func TestJoinToken(t *testing.T) {
	tok := JoinToken{Cluster: "my-pine", ID: "abc", Secret: "s3cret", Pin: strings.Repeat("p", 52)}
	if back, err := ParseJoinToken(tok.String() + "\n"); err != nil || back != tok {
		t.Errorf("got %+v, %v", back, err)
	}
	for _, bad := range []string{"", "mst1-", "mst1-pine-abc", "mst1-pine-abc.s", "msc1-abc.def", tok.String()[:40], strings.Repeat("x", 1000)} {
		if _, err := ParseJoinToken(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestUnknownFieldNamesTheNearest(t *testing.T) {
	err := DecodeStrict(strings.NewReader(`{"name":"web","comand":["x"]}`), new(JobSpec))
	if err == nil || !strings.Contains(err.Error(), "comand") || !strings.Contains(err.Error(), "did you mean command") {
		t.Errorf("got %v", err)
	}
}

func TestEveryCodeHasAStatusAndAnExit(t *testing.T) {
	for _, c := range []Code{CodeFailed, CodeInvalid, CodeNotFound, CodeNotAllowed, CodeConflict, CodeTimeout, CodeUnavailable, CodeDoesNotFit, CodeBusy,
		CodeTooLarge, CodeInternal, CodeRolledBack, CodeUnknown} {
		if !slices.ContainsFunc(codes, func(v codeRow) bool { return v.Code == c }) {
			t.Errorf("%s is in no table", c)
		}
		if c.ExitCode() < 1 || c.ExitCode() > 9 {
			t.Errorf("%s exits with %d", c, c.ExitCode())
		}
	}
}

func TestProcessOfASpec(t *testing.T) {
	good := map[string]Ulimit{"nofile=1024:4096": {Name: "nofile", Soft: 1024, Hard: 4096}, "core=unlimited": {Name: "core", Soft: Unlimited, Hard: Unlimited}, "nproc=5": {Name: "nproc", Soft: 5, Hard: 5}, "cpu=9:unlimited": {Name: "cpu", Soft: 9, Hard: Unlimited}}
	for in, want := range good {
		if u, err := ParseUlimit(want.String()); err != nil || u != want {
			t.Errorf("%s, of %s: %+v, %v", want, in, u, err)
		}
		if u, err := ParseUlimit(in); err != nil || u != want {
			t.Errorf("%q: %+v, %v", in, u, err)
		}
		var u Ulimit
		if err := u.UnmarshalJSON([]byte(`"` + in + `"`)); err != nil || u != want {
			t.Errorf("%q in JSON: %+v, %v", in, u, err)
		}
	}
	for _, in := range []string{"", "nofile", "nofile=", "nofile=x", "nofile=2:1", "nofile=unlimited:1", "nofile=-2", "files=1", "nofile=1:2:3", "nofile=9999999999999999999"} {
		var e *Error
		if _, err := ParseUlimit(in); !errors.As(err, &e) || e.Field != "ulimits" {
			t.Errorf("%q: %v", in, err)
		}
	}
	for field, change := range map[string]func(*JobSpec){
		"ulimits": func(s *JobSpec) {
			s.Ulimits = []Ulimit{{Name: "nofile", Soft: 1, Hard: 1}, {Name: "nofile", Soft: 2, Hard: 2}}
		},
		"ulimits ":   func(s *JobSpec) { s.Ulimits = []Ulimit{{Name: "nofile", Soft: 2, Hard: 1}} },
		"nice":       func(s *JobSpec) { s.Nice = -21 },
		"nice ":      func(s *JobSpec) { s.Nice = 20 },
		"cpuLimit":   func(s *JobSpec) { s.CPUs, s.CPULimit = 500, 499 },
		"cpuLimit ":  func(s *JobSpec) { s.CPULimit = -1 },
		"cpus  ":     func(s *JobSpec) { s.CPUs, s.Pin = 1500, true },
		"cpus   ":    func(s *JobSpec) { s.CPUs, s.Pin = 100, true },
		"memLimit":   func(s *JobSpec) { s.Mem, s.MemLimit = 64<<20, 64<<20-1 },
		"memLimit ":  func(s *JobSpec) { s.MemLimit = -1 },
		"memLimit  ": func(s *JobSpec) { s.MemLimit = maxBytes + 1 },
		"unconfined": func(s *JobSpec) { s.Unconfined = []string{PartSystem, "proc"} },
		"user":       func(s *JobSpec) { s.User = "a:" },
		"user ":      func(s *JobSpec) { s.User = ":a" },
		"user  ":     func(s *JobSpec) { s.User = "a:b:c" },
	} {
		s := goodSpec()
		change(s)
		var e *Error
		if err := s.Validate(); !errors.As(err, &e) || e.Code != CodeInvalid || e.Field != strings.TrimSpace(field) {
			t.Errorf("%s: got %v", field, err)
		}
	}
	s := goodSpec()
	s.CPULimit = CPULimit(s.CPUs)
	s.MemLimit = s.Mem
	for _, p := range Parts {
		s.Unconfined = append(s.Unconfined, p.Name)
	}
	s.User, s.Nice, s.Ulimits = "1000:docker", -20, []Ulimit{{Name: "nofile", Soft: 1, Hard: Unlimited}}
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
}

// What Linux would refuse at each start, on each node, is refused once, by field.
func TestTextThatLinuxStartsNothingWith(t *testing.T) {
	spec := func(change func(*JobSpec)) error {
		s := &JobSpec{Name: "web", Kind: KindService, TaskSpec: TaskSpec{Command: []string{"true"}}}
		change(s)
		s.Normalize()
		return s.Validate()
	}
	text := func(n int) string { return strings.Repeat("x", n) }
	for _, c := range []struct {
		field  string
		change func(*JobSpec)
	}{
		{"", func(s *JobSpec) { s.Env = map[string]string{"K": text(128<<10 - 3)} }},
		{"env", func(s *JobSpec) { s.Env = map[string]string{"K": text(128<<10 - 2)} }},
		{"", func(s *JobSpec) { s.Command = append(s.Command, text(128<<10-1)) }},
		{"command", func(s *JobSpec) { s.Command = append(s.Command, text(128<<10)) }},
		{"command", func(s *JobSpec) { s.Command = append(s.Command, strings.Repeat("{p}", 42<<10)) }},
		{"command", func(s *JobSpec) { s.Command = append(s.Command, text(100<<10), text(100<<10), text(100<<10)) }},
		{"", func(s *JobSpec) { s.Command = append(s.Command, text(100<<10)) }},
		{"ulimits", func(s *JobSpec) {
			s.Command, s.Ulimits = append(s.Command, text(100<<10), text(20<<10)), []Ulimit{{Name: "stack", Soft: 64 << 10, Hard: Unlimited}}
		}},
		{"", func(s *JobSpec) {
			s.Command, s.Ulimits = append(s.Command, text(100<<10), text(20<<10)), []Ulimit{{Name: "stack", Soft: 1 << 20, Hard: Unlimited}}
		}},
	} {
		err := spec(c.change)
		var e *Error
		if c.field == "" && err != nil || c.field != "" && (!errors.As(err, &e) || e.Field != c.field) {
			t.Errorf("want %q: %v", c.field, err)
		}
	}
}

// "=" is as much as is guaranteed, also where that is the default, in whichever
// order the two are written.
func TestCPULimitEqualToCPUs(t *testing.T) {
	for text, want := range map[string]CPULimit{
		`{"cpuLimit": "=", "cpus": 0.25}`: 250, `{"cpuLimit": "="}`: CPULimit(DefaultCPUs), `{"cpuLimit": "1500m", "cpus": 1}`: 1500, `{"cpuLimit": 2}`: 2000, `{}`: 0,
	} {
		s := &JobSpec{Kind: KindService, Name: "a", TaskSpec: TaskSpec{Command: []string{"a"}}}
		if err := json.Unmarshal([]byte(text), s); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		back, err := json.Marshal(s)
		if err != nil || strings.Contains(text, `"="`) != strings.Contains(string(back), `"cpuLimit":"="`) {
			t.Errorf("%s is written as %s, %v", text, back, err)
		}
		if s.Normalize(); s.CPULimit != want || s.Validate() != nil {
			t.Errorf("%s: %d, %v", text, s.CPULimit, s.Validate())
		}
	}
	for _, text := range []string{`{"cpuLimit": "=="}`, `{"cpus": "="}`, `{"cpuLimit": "x"}`} {
		if err := json.Unmarshal([]byte(text), new(JobSpec)); err == nil {
			t.Errorf("%s was taken", text)
		}
	}
}
