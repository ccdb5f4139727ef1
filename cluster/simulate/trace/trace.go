package trace

import (
	"compress/gzip"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
)

// Bounds of a trace.
const (
	MaxTasks = 2_000_000
	MaxSpan  = 10 * 365 * 24 * time.Hour // every time and duration
)

// Trace is a workload: jobs in the order of their submission.
type Trace struct {
	Jobs  []Job
	Tasks int      // of all jobs
	Notes []string // what was left out, and what was assumed
	// Begin is the time of the trace at which the first of Jobs comes, of a layout
	// whose times are counted from something else.
	Begin time.Duration
}

// Job is one submission of a trace.
type Job struct {
	Line      int     // of the file, where it began
	Row       int     // of the trace: lines with data, from 0 on
	First     int     // which of the row's tasks is the job's first, if the row is several jobs
	Places    []Place // of each task, where tasks have rows of their own
	Submit    time.Duration
	Name      string // of the trace; the simulated job's id is a number
	User      string
	Partition string
	Kind      api.Kind
	Tasks     int
	Gang      bool         // all tasks start together or not at all
	CPUs      api.MilliCPU // 0, as of Mem: the trace does not say, see Fill
	Mem       api.Bytes
	Runtime   time.Duration   // what each task takes; 0 for a service: it runs until all batch work is done
	Runtimes  []time.Duration // what each task takes, where they differ
	Time      time.Duration   // what the user said it takes at most; 0: nothing
	Priority  int
}

// Place is where the trace has a task.
type Place struct{ Row, Task int }

// Place is that of one task of the job.
func (j *Job) Place(index int) Place {
	if j.Places != nil {
		return j.Places[index]
	}
	return Place{j.Row, j.First + index}
}

// TaskRuntime is what one task of the job takes.
func (j *Job) TaskRuntime(index int) time.Duration {
	if j.Runtimes != nil {
		return j.Runtimes[index]
	}
	return j.Runtime
}

// columns are those of the layout of our own, in the order of the documentation.
var columns = []string{"submit", "name", "user", "partition", "kind", "tasks", "gang", "cpus", "mem", "runtime", "time", "priority"}

// Columns lists the columns of the layout of our own.
func Columns() []string { return slices.Clone(columns) }

// Open reads a trace file, which gzip may have packed. Its errors are
// CodeInvalid.
func Open(path string, m Mapping) (*Trace, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, api.FieldErrorf("file", "%v", err)
	}
	defer f.Close()
	if !strings.HasSuffix(path, ".gz") {
		return Read(path, f, m)
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, api.FieldErrorf("file", "%s: %v", path, err)
	}
	return Read(path, z, m)
}

// Read reads a trace in the layout that m names. The name is the file's,
// for errors, which also name the line and the column.
func Read(name string, r io.Reader, m Mapping) (*Trace, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	l := layoutOf(m.layout())
	t, err := newTable(name, r, l, m)
	if err != nil {
		return nil, err
	}
	b := &builder{table: t, mapping: m, trace: new(Trace)}
	if err := l.read(b); err != nil {
		return nil, err
	}
	if len(b.trace.Jobs) == 0 {
		return nil, api.FieldErrorf(name, "holds no job that can be simulated%s", b.why())
	}
	sort.SliceStable(b.trace.Jobs, func(i, j int) bool { return b.trace.Jobs[i].Submit < b.trace.Jobs[j].Submit })
	return b.trace, nil
}

// builder collects the jobs of a trace.
type builder struct {
	table   *table
	mapping Mapping
	trace   *Trace
}

func (b *builder) note(format string, args ...any) {
	b.trace.Notes = append(b.trace.Notes, fmt.Sprintf(format, args...))
}

func (b *builder) why() string {
	if len(b.trace.Notes) == 0 {
		return ": it ends after its header"
	}
	return ": " + strings.Join(b.trace.Notes, "; ")
}

// add appends a job, within the bound.
func (b *builder) add(j Job) error {
	if b.trace.Tasks += j.Tasks; b.trace.Tasks > MaxTasks {
		return b.table.errorf("", "the trace has more than %s: simulate a part of it", api.Count(MaxTasks, "task"))
	}
	b.trace.Jobs = append(b.trace.Jobs, j)
	return nil
}

// fromStart moves all jobs so that the first comes at 0.
func (b *builder) fromStart() {
	if len(b.trace.Jobs) == 0 {
		return
	}
	first := slices.MinFunc(b.trace.Jobs, func(x, y Job) int { return int(x.Submit - y.Submit) }).Submit
	for i := range b.trace.Jobs {
		b.trace.Jobs[i].Submit -= first
	}
	b.trace.Begin = first
}

// readOwn reads the layout of our own: one job a line.
func readOwn(b *builder) error {
	return b.table.each(func() error {
		j, err := b.table.job()
		if err != nil {
			return err
		}
		return b.add(j)
	})
}

// job reads one line.
func (t *table) job() (Job, error) {
	j := Job{Line: t.line, Row: t.row(), Name: t.get("name"), User: t.get("user"), Partition: t.get("partition"), Tasks: 1}
	for _, step := range []struct {
		column string
		set    func(text string) error
	}{
		{"submit", func(s string) (err error) { j.Submit, err = parseSpan(s, 0); return err }},
		{"kind", func(s string) error { return j.Kind.UnmarshalText([]byte(s)) }},
		{"tasks", func(s string) (err error) { j.Tasks, err = parseCount(s, api.MaxArray); return err }},
		{"gang", func(s string) error { return j.setGang(s, t.get("tasks") != "") }},
		{"cpus", func(s string) (err error) { j.CPUs, err = positive(s, api.ParseCPU); return err }},
		{"mem", func(s string) (err error) { j.Mem, err = positive(s, api.ParseBytes); return err }},
		{"runtime", func(s string) (err error) { j.Runtime, err = parseSpan(s, time.Millisecond); return err }},
		{"time", func(s string) (err error) { j.Time, err = parseSpan(s, time.Millisecond); return err }},
		{"priority", func(s string) (err error) { j.Priority, err = parsePriority(s); return err }},
	} {
		text := t.get(step.column)
		if text == "" {
			text = defaults[step.column]
		}
		if text == "" {
			continue
		}
		if err := step.set(text); err != nil {
			return j, t.errorf(step.column, "%s", message(err))
		}
	}
	return j, t.check(&j)
}

// defaults are what an empty cell means, where that is not zero.
var defaults = map[string]string{"kind": "batch"}

func (t *table) check(j *Job) error {
	if t.get("submit") == "" {
		return t.errorf("submit", "is empty: give the time of submission, such as 90 or 1m30s")
	}
	if j.Kind == api.KindBatch && j.Runtime == 0 {
		return t.errorf("runtime", "is empty: give what a task takes, such as 90 or 1m30s; only a service may run for ever")
	}
	if j.Kind == api.KindService && j.Gang {
		return t.errorf("gang", "is for batch jobs: leave it empty for a service")
	}
	if j.Partition == "" {
		j.Partition = api.DefaultPartition
	}
	spec := j.Spec(0)
	if err := spec.Validate(); err != nil {
		field := "kind"
		var e *api.Error
		if asError(err, &e) && slices.Contains(columns, e.Field) {
			field = e.Field
		}
		return t.errorf(field, "%s", message(err))
	}
	return nil
}

// setGang reads yes, no, or the number of tasks that start together.
func (j *Job) setGang(s string, tasksGiven bool) error {
	switch strings.ToLower(s) {
	case "no", "false", "0":
		return nil
	case "yes", "true":
		j.Gang = true
		return nil
	}
	n, err := parseCount(s, api.MaxGang)
	if err != nil {
		return err
	}
	if tasksGiven && j.Tasks != n {
		return api.Errorf(api.CodeInvalid, "%s start together, but tasks is %d: a gang starts whole, so leave tasks empty or make them equal", api.Count(n, "task"), j.Tasks)
	}
	j.Tasks, j.Gang = n, true
	return nil
}

// Steps is how many ends of the job are to be waited for: of its tasks, or of a
// service that has an end.
func (j *Job) Steps() int {
	switch {
	case j.Kind == api.KindBatch:
		return j.Tasks
	case j.Runtime > 0:
		return 1
	}
	return 0
}

// program is what the scheduler takes for the job's program: what runs of one
// program took tells how long the next will.
func (j *Job) program() string {
	if j.Name != "" {
		return j.Name
	}
	return "line-" + strconv.Itoa(j.Line)
}

// Spec is what the user would have submitted, for a cluster in which tasks take
// at most stop to end. A service has the same name as any other.
func (j *Job) Spec(stop time.Duration) *api.JobSpec {
	s := j.asked()
	s.Normalize()
	s.StopGrace = min(s.StopGrace, api.Duration(stop))
	return s
}

// Fill gives a job what its line leaves out, as a cluster does: what its partition or
// the nearest one above says. The chain is those, the nearest first.
func (j *Job) Fill(chain []*api.Partition) {
	s := j.asked()
	s.Complete(chain, nil)
	j.CPUs, j.Mem, j.Time = s.CPUs, s.Mem, time.Duration(s.Time)
}

// asked is a spec that is not normalized.
func (j *Job) asked() *api.JobSpec {
	s := &api.JobSpec{Kind: j.Kind, Partition: j.Partition, Priority: j.Priority, TaskSpec: api.TaskSpec{
		Command: []string{j.program()}, Placing: api.Placing{Request: api.Request{CPUs: j.CPUs, Mem: j.Mem}}, Time: api.Duration(j.Time)}}
	switch {
	case j.Kind == api.KindService:
		s.Name, s.Count, s.Time = "service", new(j.Tasks), 0
	case j.Gang:
		s.Gang = j.Tasks
	case j.Tasks > 1:
		s.Array = "0-" + strconv.Itoa(j.Tasks-1)
	}
	return s
}

// parseSpan reads a time or duration from least to MaxSpan.
func parseSpan(s string, least time.Duration) (time.Duration, error) {
	d, err := api.ParseDuration(s)
	if f, bad := strconv.ParseFloat(s, 64); bad == nil && (math.IsNaN(f) || math.Abs(f) > MaxSpan.Seconds()) {
		return 0, api.Errorf(api.CodeInvalid, "%q is not a time: give seconds or 1h30m, at most %s", s, api.Duration(MaxSpan))
	}
	if err != nil {
		return 0, err
	}
	if v := time.Duration(d); v < least || v > MaxSpan {
		return 0, api.Errorf(api.CodeInvalid, "%q is not within %s to %s", s, least, api.Duration(MaxSpan))
	}
	return time.Duration(d), nil
}

// positive refuses zero, which a spec would take for not given.
func positive[T ~int64](s string, parse func(string) (T, error)) (T, error) {
	v, err := parse(s)
	if err == nil && v <= 0 {
		err = api.Errorf(api.CodeInvalid, "%s is not above zero", s)
	}
	return v, err
}

func parseCount(s string, most int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > most {
		return 0, api.Errorf(api.CodeInvalid, "%q is not a whole number from 1 to %d", s, most)
	}
	return n, nil
}

func parsePriority(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, api.Errorf(api.CodeInvalid, "%q is not a whole number", s)
	}
	return n, nil
}
