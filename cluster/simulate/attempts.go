package simulate

import (
	"bufio"
	"cmp"
	"encoding/csv"
	"io"
	"slices"
	"sort"
	"strconv"
	"time"
)

// attempt is one run of a task, from its start to its end.
type attempt struct {
	from, to time.Duration
	job      int32
	index    int32
	node     int32
	number   int32
	outcome  outcome
}

// attemptColumns are the names that scripts rely on.
var attemptColumns = []string{"row", "task", "job", "partition", "node", "attempt", "start", "end", "outcome"}

// WriteAttempts writes what ran where and when as CSV, in the order of starts: the
// row of the trace, counted from 0, and which of its tasks it was; times are
// seconds of the trace, and the end of what still runs is empty.
func (r *Result) WriteAttempts(to io.Writer) error {
	all := slices.Clone(r.attempts)
	sort.SliceStable(all, func(i, j int) bool {
		a, b := &all[i], &all[j]
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.job, b.job), cmp.Compare(a.index, b.index), cmp.Compare(a.number, b.number)) < 0
	})
	buf := bufio.NewWriter(to)
	w := csv.NewWriter(buf)
	if err := w.Write(attemptColumns); err != nil {
		return err
	}
	for i := range all {
		a := &all[i]
		j := &r.jobs[a.job]
		at, end := j.Place(int(a.index)), ""
		if a.outcome != outcomeCut {
			end = inSeconds(r.begin + a.to)
		}
		if err := w.Write([]string{strconv.Itoa(at.Row), strconv.Itoa(at.Task), cmp.Or(j.Name, j.id), j.Partition, r.nodes[a.node].name, strconv.Itoa(int(a.number)),
			inSeconds(r.begin + a.from), end, outcomes[a.outcome]}); err != nil {
			return err
		}
	}
	if w.Flush(); w.Error() != nil {
		return w.Error()
	}
	return buf.Flush()
}

func inSeconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) }
