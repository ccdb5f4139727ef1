package trace

import (
	"errors"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

func read(t *testing.T, text string, m Mapping) *Trace {
	t.Helper()
	tr, err := Read("t.csv", strings.NewReader(text), m)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestOwnLayout(t *testing.T) {
	tr := read(t, "\ufeffruntime,submit, user ,partition,kind,tasks,gang,cpus,mem,time,priority,name\r\n"+
		"# a comment\n\n"+
		"90,1m,ada,ml/train,batch,4,yes,2,1GiB,2m,7,\"a, b\"\n"+
		"1.5,0.5,,,,,,,,,,\n"+
		",30,,,service,2,,0.25,64MiB,,,\n", Mapping{})
	if len(tr.Jobs) != 3 || tr.Tasks != 7 {
		t.Fatalf("got %+v", tr)
	}
	first, second, third := tr.Jobs[0], tr.Jobs[1], tr.Jobs[2]
	if first.Submit != 500*time.Millisecond || first.Runtime != 1500*time.Millisecond || first.Partition != api.DefaultPartition || first.Tasks != 1 ||
		first.CPUs != 0 || first.Mem != 0 || first.Line != 5 {
		t.Errorf("defaults: got %+v", first)
	}
	if first.Fill(nil); first.CPUs != api.DefaultCPUs || first.Mem != api.DefaultMem || first.Time != 0 {
		t.Errorf("filled: got %+v", first)
	}
	if second.Kind != api.KindService || second.Runtime != 0 || second.Steps() != 0 {
		t.Errorf("service: got %+v", second)
	}
	want := Job{Line: 4, Submit: time.Minute, Name: "a, b", User: "ada", Partition: "ml/train", Kind: api.KindBatch, Tasks: 4, Gang: true, CPUs: 2000,
		Mem: 1 << 30, Runtime: 90 * time.Second, Time: 2 * time.Minute, Priority: 7}
	if third.Runtimes != nil || third.Steps() != 4 || third.Name != want.Name || third.CPUs != want.CPUs || third.Mem != want.Mem || third.Time != want.Time ||
		third.Submit != want.Submit || third.User != want.User || third.Partition != want.Partition || !third.Gang || third.Priority != 7 || third.Line != 4 {
		t.Errorf("got %+v, want %+v", third, want)
	}
	if spec := third.Spec(0); spec.Gang != 4 || spec.Array != "" || spec.Tasks() != 4 {
		t.Errorf("spec: got %+v", spec)
	}
}

func TestGangMayBeANumber(t *testing.T) {
	tr := read(t, "submit,runtime,gang\n0,5,3\n0,5,no\n0,5,0\n", Mapping{})
	if j := tr.Jobs[0]; !j.Gang || j.Tasks != 3 {
		t.Errorf("got %+v", j)
	}
	if tr.Jobs[1].Gang || tr.Jobs[2].Gang {
		t.Error("no and 0 are not gang")
	}
}

func TestColumnsCanBeMapped(t *testing.T) {
	tr := read(t, "arrival,took\n3,4\n", Mapping{Columns: map[string]string{"submit": "arrival", "runtime": "took"}})
	if j := tr.Jobs[0]; j.Submit != 3*time.Second || j.Runtime != 4*time.Second {
		t.Errorf("got %+v", j)
	}
}

func TestAlibaba(t *testing.T) {
	tr := read(t, "M1,3,j_1,1,Terminated,87000,87030,200,50\n"+
		"R2_1,1,j_1,1,Terminated,87030,87030,50,0.5\n"+
		"M3,5,j_2,1,Running,87000,0,100,1\n", Mapping{Layout: "alibaba", Mem: 100 << 30})
	if len(tr.Jobs) != 2 {
		t.Fatalf("got %+v", tr.Jobs)
	}
	a, b := tr.Jobs[0], tr.Jobs[1]
	if a.Submit != 0 || a.Tasks != 3 || a.CPUs != 2000 || a.Mem != 50<<30 || a.Runtime != 30*time.Second || a.Name != "j_1/M1" {
		t.Errorf("got %+v", a)
	}
	if b.Submit != 30*time.Second || b.Runtime != time.Second || b.Mem != 512<<20 {
		t.Errorf("got %+v", b)
	}
	if notes := strings.Join(tr.Notes, "\n"); !strings.Contains(notes, "1 line left out") || !strings.Contains(notes, "of 1 task none took a whole second") {
		t.Errorf("notes: %s", notes)
	}
}

const googleHeader = "time,type,collection_id,priority,instance_index,collection_type,resource_request.cpus,resource_request.memory,more\n"

func TestGoogle(t *testing.T) {
	tr := read(t, googleHeader+
		"0,SUBMIT,9,200,0,0,0.5,0.25,x\n"+ // a pair of one collection
		"0,0,9,200,1,0,0.5,0.25,x\n"+
		"1000000,3,9,200,0,0,0.5,0.25,x\n"+
		"1000000,SCHEDULE,9,200,1,0,0.5,0.25,x\n"+
		"2000000,SUBMIT,7,25,0,0,0.01,0,x\n"+ // evicted once, never ended
		"2000000,SUBMIT,8,25,0,1,0.01,0,x\n"+ // a reservation
		"3000000,EVICT,9,200,1,0,,,x\n"+
		"4000000,SCHEDULE,9,200,1,0,0.5,0.25,x\n"+
		"5000000,SUBMIT,6,110,0,0,0.01,0,x\n"+ // still runs at the end
		"5000000,SCHEDULE,6,110,0,0,0.01,0,x\n"+
		"11000000,6,9,200,0,0,,,x\n"+
		"24000000,KILL,9,200,1,0,,,x\n"+
		"9223372036854775807,FINISH,7,25,0,0,,,x\n", Mapping{Layout: "google2019", CPUs: 8000, Mem: 16 << 30})
	if len(tr.Jobs) != 2 || tr.Tasks != 3 {
		t.Fatalf("got %+v", tr.Jobs)
	}
	pair, alone := tr.Jobs[0], tr.Jobs[1]
	if pair.Tasks != 2 || pair.CPUs != 4000 || pair.Mem != 4<<30 || pair.Partition != "production" || pair.TaskRuntime(0) != 10*time.Second || pair.TaskRuntime(1) != 20*time.Second {
		t.Errorf("got %+v", pair)
	}
	if alone.Partition != "batch" || alone.TaskRuntime(0) != 19*time.Second || alone.Submit != 5*time.Second || alone.Mem != 1<<20 {
		t.Errorf("got %+v", alone)
	}
	if notes := strings.Join(tr.Notes, "\n"); !strings.Contains(notes, "1 task left out") || !strings.Contains(notes, "1 task still ran") {
		t.Errorf("notes: %s", notes)
	}
}

// What is wrong is named by file, line and column, with what to do about it.
func TestBadTraces(t *testing.T) {
	long := strings.Repeat("x", maxLine+1)
	for _, c := range []struct{ name, text, layout, want string }{
		{"empty", "", "", "t.csv: is empty: the first line names the columns"},
		{"header only", "submit,runtime\n", "", "t.csv: holds no job"},
		{"unknown column", "submit,runtme\n", "", `t.csv:1: column "runtme" is unknown: did you mean runtime?`},
		{"far column", "submit,wibble\n", "", `column "wibble" is unknown: use submit,`},
		{"column twice", "submit,runtime,submit\n", "", "t.csv:1: column submit: is there twice"},
		{"column missing", "submit,user\n", "", "t.csv:1: column runtime: is missing in the header"},
		{"cells", "submit,runtime\n1,2,3\n", "", "t.csv:2: has 3 cells, and the header 2"},
		{"quote", "submit,runtime\n\"1,2\n", "", "t.csv:2: "},
		{"long line", "submit,runtime\n1," + long + "\n", "", "t.csv:2: is longer than 64KiB"},
		{"nan", "submit,runtime\nNaN,1\n", "", `t.csv:2: column submit: "NaN" is not a time`},
		{"inf", "submit,runtime\n1,Inf\n", "", `t.csv:2: column runtime: "Inf" is not a time`},
		{"huge", "submit,runtime\n1,1e300\n", "", `t.csv:2: column runtime: "1e300" is not a time`},
		{"long span", "submit,runtime\n1,99999h\n", "", `column runtime: "99999h" is not within`},
		{"negative", "submit,runtime\n-1,5\n", "", `column submit: "-1" is not within`},
		{"no runtime", "submit,runtime\n1,\n", "", "t.csv:2: column runtime: is empty"},
		{"zero runtime", "submit,runtime\n1,0\n", "", `column runtime: "0" is not within 1ms`},
		{"no submit", "submit,runtime\n,1\n", "", "t.csv:2: column submit: is empty"},
		{"cpus", "submit,runtime,cpus\n1,1,1e300\n", "", `t.csv:2: column cpus: "1e300" cores is more`},
		{"cpus nan", "submit,runtime,cpus\n1,1,nan\n", "", `t.csv:2: column cpus: "nan" is not a number`},
		{"cpus zero", "submit,runtime,cpus\n1,1,0\n", "", "column cpus: "},
		{"cpus negative", "submit,runtime,cpus\n1,1,-2\n", "", "column cpus: -2 is not above zero"},
		{"mem", "submit,runtime,mem\n1,1,lots\n", "", `t.csv:2: column mem: "lots" is not an amount`},
		{"mem tiny", "submit,runtime,mem\n1,1,5\n", "", "column mem: "},
		{"tasks", "submit,runtime,tasks\n1,1,0\n", "", `column tasks: "0" is not a whole number from 1`},
		{"tasks overflow", "submit,runtime,tasks\n1,1,99999999999999999999\n", "", "column tasks: "},
		{"gang and tasks", "submit,runtime,tasks,gang\n1,1,4,3\n", "", "column gang: 3 tasks start together, but tasks is 4"},
		{"gang service", "submit,runtime,kind,gang\n1,1,service,3\n", "", "column gang: "},
		{"kind", "submit,runtime,kind\n1,1,cron\n", "", "column kind: "},
		{"kind word", "submit,runtime,kind\n1,1,lambda\n", "", `column kind: unknown kind "lambda": one of`},
		{"partition", "submit,runtime,partition\n1,1,A b\n", "", `column partition: "A b" has 'A'`},
		{"priority", "submit,runtime,priority\n1,1,9999\n", "", "column priority: "},
		{"layout", "submit,runtime\n1,1\n", "borg", `layout: "borg" is none of mesita`},
		{"google header", "time,type\n", "google2019", "t.csv:1: column collection_id: is missing in the header: export the table instance_events"},
		{"google order", googleHeader + "5,0,1,1,0,0,1,1,\n4,0,2,1,0,0,1,1,\n", "google2019", "t.csv:3: column time: goes back to 4µs: order the file by time"},
		{"google type", googleHeader + "5,11,1,1,0,0,1,1,\n", "google2019", `column type: "11" is not a type of event`},
		{"google nan", googleHeader + "5,0,1,1,0,0,NaN,1,\n", "google2019", `column resource_request.cpus: "NaN" is not a number`},
		{"google time", googleHeader + "99999999999999999,0,1,1,0,0,1,1,\n", "google2019", "column time: "},
		{"alibaba cells", "M1,1,j,1,Terminated,1,2,100\n", "alibaba", "t.csv:1: has 8 cells, and the header 9"},
		{"alibaba end", "M1,1,j,1,Terminated,5,2,100,1\n", "alibaba", "t.csv:1: column end_time: 2 is before start_time 5"},
		{"alibaba mem", "M1,1,j,1,Terminated,1,2,100,101\n", "alibaba", `column plan_mem: "101" is not a number from 0 to 100`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Read("t.csv", strings.NewReader(c.text), Mapping{Layout: c.layout})
			if err == nil || !strings.Contains(err.Error(), c.want) || api.ErrorCode(err) != api.CodeInvalid {
				t.Fatalf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestBadMappings(t *testing.T) {
	for _, c := range []struct {
		m    Mapping
		want string
	}{
		{Mapping{Columns: map[string]string{"sumbit": "x"}}, "columns.sumbit: is unknown: did you mean submit?"},
		{Mapping{Columns: map[string]string{"submit": ""}}, "columns.submit: is empty"},
		{Mapping{Layout: "alibaba", Columns: map[string]string{"plan_cpu": "x"}}, "columns: files of layout alibaba have no header"},
		{Mapping{CPUs: -1}, "cpus: "},
	} {
		if err := c.m.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v, want %s", c.m, err, c.want)
		}
	}
}

// counting is a reader without end, to see that reading has a bound.
type counting struct{ n int }

func (c *counting) Read(p []byte) (int, error) {
	if c.n++; c.n > 1<<20 {
		return 0, errors.New("read on and on")
	}
	return copy(p, "0,1,50000\n0,1,50000\n"), nil
}

func TestReadingIsBounded(t *testing.T) {
	_, err := Read("t.csv", &counting{}, Mapping{Columns: map[string]string{"submit": "0", "runtime": "1", "tasks": "50000"}})
	if err == nil || !strings.Contains(err.Error(), "more than") || !strings.Contains(err.Error(), strconv.Itoa(MaxTasks)) {
		t.Fatalf("got %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add("submit,runtime,tasks\n1,2,3\n", uint8(0))
	f.Add(googleHeader+"0,0,9,200,1,0,0.5,0.25,x\n", uint8(1))
	f.Add("M1,3,j_1,1,Terminated,87000,87030,200,50\n", uint8(2))
	f.Fuzz(func(t *testing.T, text string, layout uint8) {
		tr, err := Read("t.csv", strings.NewReader(text), Mapping{Layout: layoutNames[int(layout)%len(layoutNames)]})
		if err != nil {
			if api.ErrorCode(err) != api.CodeInvalid {
				t.Fatalf("%v is not the user's to mend", err)
			}
			return
		}
		last := time.Duration(0)
		for i := range tr.Jobs {
			j := &tr.Jobs[i]
			spec := j.Spec(0)
			if err := spec.Validate(); err != nil && j.Kind == api.KindBatch {
				t.Fatalf("%+v: %v", j, err)
			}
			if j.Submit < last || j.TaskRuntime(j.Tasks-1) < 0 {
				t.Fatalf("out of order or range: %+v", j)
			}
			last = j.Submit
		}
	})
}

// A cell that is a struct is read as columns of their own are, however it is
// printed.
func TestGoogleStructs(t *testing.T) {
	flat := read(t, "time,type,collection_id,instance_index,resource_request.cpus,resource_request.memory\n"+
		"1000000,0,9,3,0.5,0.25\n1000000,3,9,3,0.5,0.25\n3000000,6,9,3,,\n", Mapping{Layout: "google2019"})
	for _, cell := range []string{`"{""cpus"": 0.5, ""memory"": 0.25}"`, `"{'cpus': 0.5, 'memory': 0.25}"`, `"{'memory': 0.25, 'cpus': 5e-1}"`} {
		got := read(t, "time,type,collection_id,instance_index,resource_request\n"+
			"1000000,SUBMIT,9,3,"+cell+"\n1000000,SCHEDULE,9,3,"+cell+"\n3000000,FINISH,9,3,None\n", Mapping{Layout: "google2019"})
		if !reflect.DeepEqual(got, flat) || got.Jobs[0].CPUs != 32000 || got.Jobs[0].Mem != 64<<30 || got.Jobs[0].Place(0) != (Place{0, 3}) || got.Begin != time.Second {
			t.Errorf("%s: %+v, want %+v", cell, got, flat)
		}
	}
	for _, bad := range []string{"0.5", `"{'cpus': many}"`, "[1]"} {
		_, err := Read("t.csv", strings.NewReader("time,type,collection_id,instance_index,resource_request\n0,0,9,3,"+bad+"\n"), Mapping{Layout: "google2019"})
		if err == nil || !strings.Contains(err.Error(), "column resource_request: ") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// A line of the Parallel Workloads Archive is a job that starts on all its
// processors at once; what never ran is left out, and counted among the rows.
func TestSWF(t *testing.T) {
	text := "; MaxProcs: 4000\n1 50 -1 10 3 -1 -1 4 20 4096 1 7 1 4 3 2 -1 -1\n2 60 -1 0 4 -1 -1 4 20 -1 5 7 1 4 3 2 -1 -1\n3 55 -1 9 2500 -1 1 -1 -1 -1 0 -1 1 -1 -1 2 -1 -1\n"
	tr := read(t, text, Mapping{Layout: "swf"})
	if len(tr.Jobs) != 2 || len(tr.Notes) != 2 || tr.Begin != 50*time.Second {
		t.Fatalf("%+v", tr)
	}
	if j := tr.Jobs[0]; j.Submit != 0 || j.Tasks != 4 || !j.Gang || j.CPUs != 1000 || j.Mem != 4<<20 || j.Runtime != 10*time.Second || j.Time != 20*time.Second || j.User != "user-7" || j.Name != "app-4" || j.Partition != "default" || j.Row != 0 {
		t.Errorf("%+v", j)
	}
	if j := tr.Jobs[1]; j.Submit != 5*time.Second || j.Tasks != 834 || j.CPUs != 3000 || j.Mem != 3<<20 || j.Time != 0 || j.User != "" || j.Name != "" || j.Row != 2 {
		t.Errorf("%+v", j)
	}
	if j := read(t, text, Mapping{Layout: "swf", Columns: map[string]string{"partition": "partition"}}).Jobs[0]; j.Partition != "partition-2" {
		t.Errorf("%+v", j)
	}
	for _, m := range []Mapping{{Layout: "swf", Columns: map[string]string{"partition": "app"}}, {Layout: "swf", Columns: map[string]string{"submit": "wait"}}} {
		if _, err := Read("t.swf", strings.NewReader(text), m); err == nil || !strings.Contains(err.Error(), "only partition can be said, as one of queue") {
			t.Errorf("%+v: %v", m, err)
		}
	}
	if _, err := Read("t.swf", strings.NewReader("1 2 3\n"), Mapping{Layout: "swf"}); err == nil || !strings.Contains(err.Error(), "t.swf:1: has 3 cells") {
		t.Errorf("%v", err)
	}
}
