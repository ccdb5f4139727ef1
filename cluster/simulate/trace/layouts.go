package trace

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
)

// Mapping says how the columns of a trace file are read.
type Mapping struct {
	Layout string `json:"layout,omitempty"` // mesita (default), google2019, alibaba or swf
	// CPUs and Mem are what a normalised 1 of google2019, or a normalised 100
	// of the memory of alibaba, stands for; default 64 and 256GiB, 96GiB.
	CPUs    api.MilliCPU      `json:"cpus,omitempty"`
	Mem     api.Bytes         `json:"mem,omitempty"`
	Columns map[string]string `json:"columns,omitempty"` // our name of a column: the file's
}

// layout is one way to write a trace down.
type layout struct {
	known    []string
	required []string
	fixed    []string          // the columns of a file that has no header
	instead  map[string]string // a column that may be there in place of a required one
	spaces   bool              // see table.spaces
	strict   bool              // a column that is not known is an error
	missing  string            // what to do about a required column that is not there
	mem      api.Bytes
	read     func(*builder) error
}

var layoutNames = []string{"mesita", "google2019", "alibaba", "swf"}

// alibabaColumns are those of batch_task.csv, which has no header.
var alibabaColumns = []string{"task_name", "instance_num", "job_name", "task_type", "status", "start_time", "end_time", "plan_cpu", "plan_mem"}

// layoutOf is the layout of that name, one of layoutNames.
func layoutOf(name string) layout {
	switch name {
	case "google2019":
		return layout{
			known:    []string{"time", "type", "collection_id", "collection_type", "instance_index", "priority", "user", "resource_request", "resource_request.cpus", "resource_request.memory"},
			required: []string{"time", "type", "collection_id", "instance_index", "resource_request.cpus", "resource_request.memory"},
			instead:  map[string]string{"resource_request.cpus": "resource_request", "resource_request.memory": "resource_request"},
			missing:  "export the table instance_events, ordered by time, with its nested fields named as a.b, or as one cell {\"cpus\": 0.1, \"memory\": 0.2}", mem: 256 << 30, read: readGoogle,
		}
	case "swf":
		return layout{known: swfColumns, fixed: swfColumns, spaces: true, read: readSWF}
	case "alibaba":
		return layout{known: alibabaColumns, fixed: alibabaColumns, mem: 96 << 30, read: readAlibaba}
	}
	return layout{
		known: columns, required: []string{"submit", "runtime"}, strict: true,
		missing: "the first line names the columns; submit and runtime must be among them", read: readOwn,
	}
}

// Layouts lists the names of the layouts.
func Layouts() []string { return slices.Clone(layoutNames) }

func (m Mapping) layout() string {
	if m.Layout == "" {
		return "mesita"
	}
	return m.Layout
}

// Validate checks a mapping; the error names the field.
func (m Mapping) Validate() error {
	if !slices.Contains(layoutNames, m.layout()) {
		return api.FieldErrorf("layout", "%q is none of %s", m.Layout, strings.Join(layoutNames, ", "))
	}
	l := layoutOf(m.layout())
	if m.CPUs < 0 || m.Mem < 0 {
		return api.FieldErrorf("cpus", "cpus and mem are what a normalised amount stands for: give amounts above zero")
	}
	for ours, theirs := range m.Columns {
		switch {
		case m.layout() == "swf" && ours == "partition" && slices.Contains(swfParts, theirs):
		case m.layout() == "swf":
			return api.FieldErrorf("columns."+ours, "of layout swf only partition can be said, as one of %s", strings.Join(swfParts, ", "))
		case l.fixed != nil:
			return api.FieldErrorf("columns", "files of layout %s have no header to map", m.layout())
		case !slices.Contains(l.known, ours):
			return api.InField("columns", api.UnknownField(ours, l.known))
		case theirs == "":
			return api.FieldErrorf("columns."+ours, "is empty: give the name that the column has in the file")
		}
	}
	return nil
}

// wholeCPUs and wholeMem are what a normalised whole stands for.
func (m Mapping) wholeCPUs() float64 {
	if m.CPUs > 0 {
		return float64(m.CPUs)
	}
	return 64_000
}

func (m Mapping) wholeMem() float64 {
	if m.Mem > 0 {
		return float64(m.Mem)
	}
	return float64(layoutOf(m.layout()).mem)
}

// number reads a cell with a number from 0 to most; an empty one is 0.
func (t *table) number(column string, most float64) (float64, error) {
	s := t.get(column)
	if s == "" {
		return 0, nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || f < 0 || f > most {
		return 0, t.errorf(column, "%q is not a number from 0 to %g", s, most)
	}
	return f, nil
}

// amounts turns normalised amounts into what a spec may ask for.
func amounts(cpus, mem float64) (api.MilliCPU, api.Bytes) {
	return api.MilliCPU(max(1, math.Round(cpus))), api.Bytes(max(1<<20, math.Round(mem)))
}

// alibabaState counts what is left out.
type alibabaState struct{ unended, idle int }

// readAlibaba reads batch_task.csv of the Alibaba cluster trace of 2018: a
// line is a task of a job with so many alike instances. It has no time of
// submission, so a task counts as submitted when it started there.
func readAlibaba(b *builder) error {
	var st alibabaState
	if err := b.table.each(func() error { return st.line(b) }); err != nil {
		return err
	}
	if st.unended > 0 {
		b.note("%s left out: not Terminated, so nobody knows for how long that runs", api.Count(st.unended, "line"))
	}
	if st.idle > 0 {
		b.note("of %s none took a whole second: as if they had taken 1s", api.Count(st.idle, "task"))
	}
	b.note("the order of the tasks of one job is not kept: each is submitted when it started in the trace")
	b.fromStart()
	return nil
}

func (st *alibabaState) line(b *builder) error {
	t := b.table
	if t.get("status") != "Terminated" {
		st.unended++
		return nil
	}
	start, err := t.number("start_time", MaxSpan.Seconds())
	if err != nil {
		return err
	}
	end, err := t.number("end_time", MaxSpan.Seconds())
	if err != nil {
		return err
	}
	count, err := parseCount(t.get("instance_num"), MaxTasks)
	if err != nil {
		return t.errorf("instance_num", "%s", message(err))
	}
	cpu, err := t.number("plan_cpu", 1e6)
	if err != nil {
		return err
	}
	mem, err := t.number("plan_mem", 100)
	if err != nil {
		return err
	}
	if end < start {
		return t.errorf("end_time", "%g is before start_time %g", end, start)
	}
	if end == start {
		end++
		st.idle++
	}
	j := Job{Line: t.line, Row: t.row(), Submit: seconds(start), Name: t.get("job_name") + "/" + t.get("task_name"), Partition: api.DefaultPartition,
		Kind: api.KindBatch, Tasks: count, Runtime: seconds(end - start)}
	j.CPUs, j.Mem = amounts(cpu*10, mem/100*b.mapping.wholeMem())
	return b.addSplit(j)
}

func seconds(s float64) time.Duration { return time.Duration(math.Round(s * float64(time.Second))) }

// addSplit adds a job in parts that are no bigger than an array may be.
func (b *builder) addSplit(j Job) error {
	for j.Tasks > api.MaxArray {
		part := j
		part.Tasks = api.MaxArray
		if j.Runtimes != nil {
			part.Runtimes, j.Runtimes = j.Runtimes[:part.Tasks], j.Runtimes[part.Tasks:]
		}
		if j.Places != nil {
			part.Places, j.Places = j.Places[:part.Tasks], j.Places[part.Tasks:]
		}
		if err := b.add(part); err != nil {
			return err
		}
		j.Tasks -= part.Tasks
		j.First += part.Tasks
	}
	return b.add(j)
}
