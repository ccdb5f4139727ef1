package fsm

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

func share(path string, cpus api.MilliCPU, mem api.Bytes) *PartitionPut {
	p := &api.Partition{Path: path, Guarantee: api.Amounts{CPUs: cpus, Mem: mem}}
	p.Normalize()
	return &PartitionPut{Partition: p}
}

// What one partition gives up another may have, whichever is told first, and however
// many kinds of resources change hands.
func TestPartitionsThatExchangeGuarantees(t *testing.T) {
	for _, order := range [][2]int{{0, 1}, {1, 0}} {
		w := newWorld(t, Newest, 1)
		all := w.View().Node(nodeID(0)).Resources
		w.do(&ApplyAll{Meta: w.at(), Partitions: []*PartitionPut{share("a", all.CPUs, 0), share("b", 0, all.Mem)}})
		next := []*PartitionPut{share("a", 0, all.Mem), share("b", all.CPUs, 0)}
		for _, p := range next { // neither fits alone
			if tr := w.View().Trial(p); api.ErrorCode(tr.Err) != api.CodeDoesNotFit {
				t.Errorf("%s alone: %v", p.Partition.Path, tr.Err)
			}
		}
		w.do(&ApplyAll{Meta: w.at(), Partitions: []*PartitionPut{next[order[0]], next[order[1]]}})
		if a, b := w.View().Partition("a").Guarantee, w.View().Partition("b").Guarantee; a.Mem != all.Mem || b.CPUs != all.CPUs || a.CPUs != 0 || b.Mem != 0 {
			t.Errorf("a has %v, b has %v", a, b)
		}
		w.do(&ApplyAll{Meta: w.at(), Partitions: []*PartitionPut{share("c/d", 0, 0), share("c", 0, 0)}}) // a child before what is above it
	}
}

// A command of which one part is refused changes nothing and tells of nothing,
// whatever its other parts did before.
func TestApplyAllOrNothing(t *testing.T) {
	w := newWorld(t, Newest, 1)
	w.do(&PartitionPut{Meta: w.at(), Partition: share("ml", 0, 0).Partition})
	w.do(&JobCreate{Meta: w.at(), Spec: testSpec(api.KindService, "web", 2)})
	w.do(&JobCreate{Meta: w.at(), Spec: testSpec(api.KindService, "old", 2)})
	w.place("web.0", 0)
	revision := w.View().Job("web").Revision
	good := func() *ApplyAll {
		return &ApplyAll{Meta: w.at(), Stops: []*JobStop{{ID: "old"}}, Partitions: []*PartitionPut{share("ml", 0, 1<<20), share("ml/a", 0, 1)},
			Updates: []*JobUpdate{{ID: "web", Spec: testSpec(api.KindService, "web", 5)}}, Creates: []*JobCreate{{Spec: testSpec(api.KindService, "new", 3)}}, Seen: []Seen{{Job: "web", Revision: revision}, {Job: "new"}, {Partition: "ml/a"}}}
	}
	gone := testSpec(api.KindService, "gone", 1)
	gone.Partition = "none"
	for what, c := range map[string]struct {
		spoil     func(c *ApplyAll)
		job, path string
		field     string
	}{
		"a partition that does not fit": {func(c *ApplyAll) { c.Partitions = append(c.Partitions, share("much", 1<<20, 0)) }, "", "much", "guarantee"},
		"a child above its parent":      {func(c *ApplyAll) { c.Partitions = append(c.Partitions, share("ml/b", 0, 1<<30)) }, "", "ml", "guarantee"},
		"a job in no partition":         {func(c *ApplyAll) { c.Creates = append(c.Creates, &JobCreate{Spec: gone}) }, "gone", "", ""},
		"an update of none":             {func(c *ApplyAll) { c.Updates = append(c.Updates, &JobUpdate{ID: "none", Spec: gone}) }, "none", "", ""},
		"a stop of none":                {func(c *ApplyAll) { c.Stops = append(c.Stops, &JobStop{ID: "none"}) }, "none", "", ""},
		"a job that changed":            {func(c *ApplyAll) { c.Seen = append(c.Seen, Seen{Job: "old", Revision: 1}) }, "old", "", api.FieldRevision},
		"a job that went":               {func(c *ApplyAll) { c.Seen = append(c.Seen, Seen{Job: "none", Revision: 1}) }, "none", "", api.FieldRevision},
		"a job that came":               {func(c *ApplyAll) { c.Seen = append(c.Seen, Seen{Job: "old"}) }, "old", "", api.FieldRevision},
		"a partition that changed":      {func(c *ApplyAll) { c.Seen = append(c.Seen, Seen{Partition: "ml", Revision: 1}) }, "", "ml", api.FieldRevision},
	} {
		cmd := good()
		c.spoil(cmd)
		before := w.View()
		was, _, _ := before.StateHash()
		tr := before.Trial(cmd)
		is, _, err := tr.View.StateHash()
		if err != nil || is != was {
			t.Errorf("%s: something was changed (%v)", what, err)
		}
		events := len(w.EventsBefore(1<<40, 1<<20))
		_, err = w.Do(t.Context(), cmd)
		var of *PartError
		if !errors.As(err, &of) || of.Job != c.job || of.Partition != c.path {
			t.Errorf("%s: %v", what, err)
		}
		var e *api.Error
		if c.field != "" && (!errors.As(err, &e) || e.Field != c.field) {
			t.Errorf("%s: names %v", what, e)
		}
		if now := len(w.EventsBefore(1<<40, 1<<20)); now != events {
			t.Errorf("%s: something was told", what)
		}
		if j := w.View().Job("web"); j.Spec.Tasks() != 2 || w.View().Job("old").Stop || w.View().Job("new") != nil || w.View().Partition("ml/a") != nil {
			t.Errorf("%s: something was done", what)
		}
	}
	w.do(good())
	if v := w.View(); v.Job("web").Spec.Tasks() != 5 || !v.Job("old").Stop || v.Job("new").Counts.Pending != 3 || v.Partition("ml/a") == nil {
		t.Error("not all of it was done")
	}
}

// Rules of how much may wait are those that shall be, and who stops or shrinks makes
// room for who comes.
func TestApplyAllMakesRoomFirst(t *testing.T) {
	w := newWorld(t, Newest, 1)
	ml := share("ml", 0, 0)
	ml.Partition.MaxWaiting = 4
	w.do(&ApplyAll{Meta: w.at(), Partitions: []*PartitionPut{ml}})
	spec := func(name string, n int) *api.JobSpec {
		s := testSpec(api.KindService, name, n)
		s.Partition = "ml"
		return s
	}
	w.do(&ApplyAll{Meta: w.at(), Creates: []*JobCreate{{Spec: spec("a", 2)}, {Spec: spec("b", 2)}}})
	c := &ApplyAll{Meta: w.at(), Stops: []*JobStop{{ID: "b"}}, Creates: []*JobCreate{{Spec: spec("c", 2)}}}
	w.do(c)
	none := share("ml", 0, 0) // the bound is taken away
	w.do(&ApplyAll{Meta: w.at(), Creates: []*JobCreate{{Spec: spec("d", 20)}}, Partitions: []*PartitionPut{none}})
	sort := &ApplyAll{Updates: []*JobUpdate{{ID: "a", Spec: spec("a", 9)}, {ID: "d", Spec: spec("d", 1)}}}
	if sort.Sort(w.View()); sort.Updates[0].ID != "d" {
		t.Error("what grows comes before what shrinks")
	}
}

// However many services begin together, one command makes so many tasks at most.
func TestApplyAllMakesSomeTasksAtOnce(t *testing.T) {
	w := newWorld(t, Newest, 1)
	c := &ApplyAll{Meta: w.at()}
	for i := range maxApplyTasks/maxFirstTasks + 2 {
		c.Creates = append(c.Creates, &JobCreate{Spec: testSpec(api.KindService, fmt.Sprint("s", i), maxFirstTasks)})
	}
	w.do(c)
	n := 0
	for range w.View().Tasks() {
		n++
	}
	if n != maxApplyTasks {
		t.Errorf("%d tasks were made, want %d", n, maxApplyTasks)
	}
}

// A large command is compressed in the log, and is what it was; what is not a
// command, or comes to more than one may have, is refused.
func TestLargeCommandsAreCompressed(t *testing.T) {
	c := &ApplyAll{}
	for i := range 5000 {
		c.Creates = append(c.Creates, &JobCreate{Spec: testSpec(api.KindService, fmt.Sprintf("service-%d", i), 10)})
	}
	if err := c.CheckSize(storeAt(t, Newest).View()); err != nil {
		t.Error(err)
	}
	entry, err := Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	back, err := Decode(entry)
	if err != nil || len(back) != 1 || len(back[0].(*ApplyAll).Creates) != 5000 {
		t.Fatalf("%d commands, %v", len(back), err)
	}
	bomb := new(bytes.Buffer)
	bomb.WriteByte(deflated)
	z, _ := flate.NewWriter(bomb, 9)
	z.Write(make([]byte, maxCommandBytes+1))
	z.Close()
	for what, body := range map[string][]byte{"more than": bomb.Bytes(), "is empty": nil, "cannot be decompressed": {deflated, 1, 2, 3}, "does not know": {9}} {
		entry := binary.AppendUvarint([]byte{entryVersion}, uint64(kindOf(c)))
		entry = append(binary.AppendUvarint(entry, uint64(len(body))), body...)
		if _, err := Decode(entry); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%q: %v", what, err)
		}
	}
	for i := range c.Creates { // nothing alike: nothing to compress
		c.Creates[i].Spec.Env = map[string]string{"A": strings.Repeat(fmt.Sprintf("%x", uint64(i)*0x9e3779b97f4a7c15), 1), "B": fmt.Sprintf("%x%x", uint64(i+7)*0xff51afd7ed558ccd, uint64(i+9)*0xc4ceb9fe1a85ec53)}
		c.Creates[i].Spec.Command = append(c.Creates[i].Spec.Command, fmt.Sprintf("%x%x%x", uint64(i+1)*0xbf58476d1ce4e5b9, uint64(i+2)*0x94d049bb133111eb, uint64(i+3)*0x2545f4914f6cdd1d))
	}
	c.Creates = append(c.Creates, c.Creates...)
	c.Creates = append(c.Creates, c.Creates...)
	if err := c.CheckSize(storeAt(t, Newest).View()); api.ErrorCode(err) != api.CodeTooLarge || !strings.Contains(err.Error(), "several parts") {
		t.Errorf("%v", err)
	}
}
