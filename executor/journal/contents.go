package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/boltfile"
	"github.com/mesita/mesita/executor/sealed"
)

// The buckets, and the keys of the first.
var (
	metaBucket  = []byte("meta")
	taskBucket  = []byte("tasks")   // id → api.Task
	stateBucket = []byte("records") // id → Record
	specBucket  = []byte("specs")   // job@version, or task@version of a framework's → api.NodeSpec

	formatKey = []byte("format")
	bootKey   = []byte("boot")
	ageKey    = []byte("age")
	sumsKey   = []byte("sums")

	allBuckets = [][]byte{metaBucket, taskBucket, stateBucket, specBucket}
)

// formatError says that a newer version wrote the journal.
type formatError struct{ is int }

func (e *formatError) Error() string {
	return fmt.Sprintf("the journal has format %d, and this version of mesita reads %d: use the version that wrote it", e.is, format)
}

// contents is what a look at a whole journal found.
type contents struct {
	entries []Entry
	sums    sums  // of what is there
	said    *sums // what it says of itself; nil: nothing
	sealed  bool  // a value has a sum of its own
	format  string

	specs  map[string]api.NodeSpec
	states map[string]Record
	tasks  []*api.Task
}

// look reads all of a journal.
func (in *contents) look(f *boltfile.File) error {
	buckets, err := f.Buckets()
	if err != nil {
		return err
	}
	if len(buckets) == 0 {
		return nil // made, and not written yet
	}
	for _, name := range allBuckets {
		b := buckets[string(name)]
		if b == nil {
			return fmt.Errorf("the bucket %s is missing", name)
		}
		if err := b.ForEach(func(k, v []byte) error { return in.value(name, k, v) }); err != nil {
			return err
		}
		if err := in.checkFormat(); err != nil { // what comes next may look otherwise in another
			return err
		}
	}
	if err := in.compare(f.Tx); err != nil {
		return err
	}
	return in.join()
}

func newContents() *contents {
	return &contents{specs: map[string]api.NodeSpec{}, states: map[string]Record{}}
}

// value takes in one value.
func (in *contents) value(bucket, k, v []byte) error {
	err := in.count(bucket, k, v)
	if err == nil {
		switch string(bucket) {
		case string(metaBucket):
			err = in.meta(k, v)
		case string(taskBucket):
			err = in.task(k, v)
		case string(stateBucket):
			err = in.state(k, v)
		default:
			err = in.spec(k, v)
		}
	}
	if err != nil {
		return fmt.Errorf("%s of %.80q: %w", bucket, k, err)
	}
	return nil
}

// count checks a value by itself, and adds it to the sums.
func (in *contents) count(bucket, k, v []byte) error {
	sum, isSealed, err := sealed.Check(v, bucket, k)
	if err != nil || isSums(bucket, k) {
		return err
	}
	in.sums.add(sum)
	in.sealed = in.sealed || isSealed
	return nil
}

// compare compares what is there with what the file says of itself, which is
// nothing or stale if the last change was an older program's.
func (in *contents) compare(tx uint64) error {
	switch said := in.said; {
	case said == nil && in.sealed:
		return errors.New("what it says of itself is missing")
	case said == nil, said.Tx < tx:
		return nil
	case said.Tx > tx:
		return fmt.Errorf("it ends with change %d, and there was change %d", tx, said.Tx)
	case said.Count != in.sums.Count, said.Xor != in.sums.Xor:
		return fmt.Errorf("it has %d values, and they are not the %d that it should have", in.sums.Count, said.Count)
	}
	return nil
}

func (in *contents) meta(k, v []byte) (err error) {
	switch {
	case isSums(metaBucket, k):
		in.said, err = parseSums(v)
	case string(k) == string(formatKey):
		in.format = string(v)
	}
	return err
}

// checkFormat tells a journal of a newer version from one whose format is
// damaged.
func (in *contents) checkFormat() error {
	n, err := strconv.Atoi(in.format)
	switch {
	case in.format == strconv.Itoa(format):
		return nil
	case err != nil, in.said != nil && in.said.Format != n:
		return fmt.Errorf("%.80q is not its format", in.format)
	}
	return &formatError{n}
}

func (in *contents) spec(k, v []byte) error {
	var s api.NodeSpec
	err := json.Unmarshal(v, &s)
	in.specs[string(k)] = s
	return err
}

func (in *contents) state(k, v []byte) error {
	var r Record
	err := json.Unmarshal(v, &r)
	in.states[string(k)] = r
	return err
}

func (in *contents) task(k, v []byte) error {
	t := &api.Task{}
	if err := json.Unmarshal(v, t); err != nil {
		return err
	}
	if t.ID != string(k) {
		return fmt.Errorf("it is of task %.80q", t.ID)
	}
	in.tasks = append(in.tasks, t)
	return nil
}

// join gives each task its spec and its record.
func (in *contents) join() error {
	for _, t := range in.tasks {
		e := Entry{ID: t.ID, Assignment: in.specs[specKey(t)].On(t)}
		var ok bool
		if e.Record, ok = in.states[t.ID]; !ok || e.Assignment.Spec == nil {
			return fmt.Errorf("task %s: its record or its spec %s is missing", t.ID, specKey(t))
		}
		in.entries = append(in.entries, e)
	}
	return nil
}
