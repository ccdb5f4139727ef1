package trace

import (
	"cmp"
	"strconv"
	"time"

	"github.com/mesita/mesita/api"
)

// swfColumns are those of the Standard Workload Format, version 2.2, of the
// Parallel Workloads Archive (Feitelson, Tsafrir, Krakov: Experience with using the
// Parallel Workloads Archive, JPDC 2014). What is not known is -1.
var swfColumns = []string{"job", "submit", "wait", "run", "procs", "cputime", "usedmem", "reqprocs", "reqtime", "reqmem", "status", "user", "group", "app", "queue", "partition", "before", "think"}

// swfParts are the columns that can be taken for the partition.
var swfParts = []string{"queue", "partition", "group", "user"}

type swfState struct{ never, wide int }

// readSWF reads a trace of the Parallel Workloads Archive. A job with several
// processors is a gang of tasks with one each, as it starts with all of them.
func readSWF(b *builder) error {
	var st swfState
	if err := b.table.each(func() error { return st.line(b) }); err != nil {
		return err
	}
	if st.never > 0 {
		b.note("%s left out: no run time or no processors, as of a job that was cancelled while it waited", api.Count(st.never, "line"))
	}
	if st.wide > 0 {
		b.note("%s with more than %d processors: their tasks have several each", api.Count(st.wide, "job"), api.MaxGang)
	}
	b.fromStart()
	return nil
}

func (st *swfState) line(b *builder) error {
	t := b.table
	n := map[string]float64{}
	for _, c := range []string{"submit", "run", "procs", "usedmem", "reqprocs", "reqtime", "reqmem"} {
		f, err := t.known(c)
		if err != nil {
			return err
		}
		n[c] = f
	}
	procs := int(cmp.Or(n["reqprocs"], n["procs"]))
	if procs < 1 || n["run"] <= 0 {
		st.never++
		return nil
	}
	j := Job{Line: t.line, Row: t.row(), Submit: seconds(n["submit"]), Partition: api.DefaultPartition, Kind: api.KindBatch, Runtime: seconds(n["run"]), Time: seconds(n["reqtime"]),
		Name: t.numbered("app"), User: t.numbered("user"), CPUs: 1000}
	if part := t.numbered(b.mapping.Columns["partition"]); part != "" {
		j.Partition = part
	}
	each := (procs + api.MaxGang - 1) / api.MaxGang
	if each > 1 {
		st.wide++
	}
	j.Tasks, j.CPUs = (procs+each-1)/each, api.MilliCPU(each)*1000
	j.Gang = j.Tasks > 1
	if kib := cmp.Or(n["reqmem"], n["usedmem"]); kib > 0 {
		j.Mem = max(1<<20, api.Bytes(kib)*1024) * api.Bytes(each)
	}
	return b.add(j)
}

// known reads a number that is -1, here 0, if it is not known.
func (t *table) known(column string) (float64, error) {
	if f, err := strconv.ParseFloat(t.get(column), 64); err == nil && f < 0 {
		return 0, nil
	}
	most := float64(MaxSpan / time.Second)
	switch column {
	case "procs", "reqprocs":
		most = 1 << 20
	case "usedmem", "reqmem":
		most = 1 << 40
	}
	return t.number(column, most)
}

// numbered is the name of what has a number in that column, "" if it has none.
func (t *table) numbered(column string) string {
	n, err := strconv.Atoi(t.get(column))
	if err != nil || n < 0 {
		return ""
	}
	return column + "-" + strconv.Itoa(n)
}
