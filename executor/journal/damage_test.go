package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/sealed"
	"github.com/mesita/mesita/integration/draw"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func testAssignment(index, version int) *api.Assignment {
	s := &api.JobSpec{Name: "web", Kind: api.KindService, TaskSpec: api.TaskSpec{Command: []string{"sleep", fmt.Sprint(version)}}}
	s.Normalize()
	return new(api.Assigned(&api.Task{ID: api.TaskID("web", index), Job: "web", Index: index, Version: version, Attempt: 1}, s))
}

// written makes a journal of n tasks that lived a little: some pages are free,
// some hold what is old.
func written(t testing.TB, path string, n int) { writtenOf(t, path, n, testAssignment) }

// writtenOf makes one of tasks as assign makes them.
func writtenOf(t testing.TB, path string, n int, assign func(index, version int) *api.Assignment) {
	t.Helper()
	j, _, err := Open(path, quiet())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.Begin("0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", "", nil); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range n {
		id := api.TaskID("web", i)
		j.Put(id, assign(i, 1+i%3), Record{Attempt: 1}, nil)
		if err := j.flush(); err != nil {
			t.Fatal(err)
		}
		switch code := i; i % 4 {
		case 0:
			j.Put(id, nil, Record{Phase: Running, Attempt: 1, PID: 100 + i, Started: at}, nil)
		case 1:
			j.Put(id, nil, Record{Phase: Ended, Attempt: 1, Final: &api.TaskStatus{Task: id, Attempt: 1, State: api.TaskFailed, ExitCode: &code}}, nil)
		case 2:
			j.Remove(id)
		}
	}
	if err := errors.Join(j.flush(), j.Close()); err != nil {
		t.Fatal(err)
	}
}

// served is what a node would go by.
type served struct {
	Boot    string
	Entries []Entry
}

func serve(path string) (served, error) {
	j, entries, err := Open(path, quiet())
	if err != nil {
		return served{}, err
	}
	boot, err := j.Begin("another", "", nil)
	return served{boot, entries}, errors.Join(err, j.Close())
}

// A flipped bit anywhere in the file never makes it another journal: it is
// refused and named, or does not matter.
func TestFlippedBitsAreNeverServed(t *testing.T) {
	flips, err := strconv.Atoi(os.Getenv("MESITA_FLIPS"))
	if err != nil {
		flips = 300
	}
	file, want := whole(t, 40, testAssignment)
	path := filepath.Join(t.TempDir(), "journal.db")
	seed := draw.Seed(t)
	random := rand.New(rand.NewPCG(seed, 1))
	refused := 0
	for range flips {
		b := bytes.Clone(file)
		bit := random.IntN(8 * len(b))
		b[bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := serve(path)
		var bad *CorruptError
		switch {
		case errors.As(err, &bad) && bad.File == path:
			refused++
		case err != nil:
			t.Errorf("seed %d, bit %d: the error does not name the file as damaged: %v", seed, bit, err)
		case !reflect.DeepEqual(got, want):
			t.Errorf("seed %d, bit %d: another journal is served", seed, bit)
		}
	}
	t.Logf("seed %d: %d of %d refused, the others did not matter", seed, refused, flips)
	if refused == 0 {
		t.Error("none was refused")
	}
}

// whole is the bytes of a journal of n tasks, and what it holds.
func whole(t testing.TB, n int, assign func(index, version int) *api.Assignment) ([]byte, served) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal.db")
	writtenOf(t, path, n, assign)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, err := serve(path)
	if err != nil || len(want.Entries) < n/2 || want.Boot == "" {
		t.Fatal(want, err)
	}
	return file, want
}

// raw changes a journal as a program does that knows of no sums.
func raw(t testing.TB, path string, f func(bucket func(string) *bbolt.Bucket) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		return f(func(name string) *bbolt.Bucket {
			b, err := tx.CreateBucketIfNotExists([]byte(name))
			if err != nil {
				t.Fatal(err)
			}
			return b
		})
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

func object(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// An upgrade may be taken back at any time: a program without sums reads what
// this one wrote, writes in its own way, and this one continues from there.
func TestTheProgramOfBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	old := func(i int, r Record) {
		t.Helper()
		raw(t, path, func(bucket func(string) *bbolt.Bucket) error {
			a := testAssignment(i, 1)
			return errors.Join(bucket("meta").Put([]byte("format"), []byte("1")),
				bucket("specs").Put([]byte("web@1"), object(t, a.Spec)),
				bucket("tasks").Put([]byte(a.Task.ID), object(t, a.Task)),
				bucket("records").Put([]byte(a.Task.ID), object(t, r)))
		})
	}
	for round := range 3 {
		old(round, Record{Attempt: 1, PID: 70 + round})
		j, entries, err := Open(path, quiet())
		if err != nil || len(entries) != round*2+1 {
			t.Fatalf("round %d: %d entries, %v", round, len(entries), err)
		}
		if r := entries[round].Record; r.PID != 70+round {
			t.Fatalf("round %d: %+v", round, r)
		}
		j.Put(api.TaskID("web", 5+round), testAssignment(5+round, 1), Record{Attempt: 1}, nil)
		if err := errors.Join(j.flush(), j.Close()); err != nil {
			t.Fatal(err)
		}
		raw(t, path, func(bucket func(string) *bbolt.Bucket) error {
			for _, name := range []string{"tasks", "records", "specs"} {
				err := bucket(name).ForEach(func(_, v []byte) error { return json.Unmarshal(v, &map[string]any{}) })
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	if _, _, err := Open(path, quiet()); err != nil {
		t.Fatal(err)
	}
}

// What is not where it was written is damage, whoever wrote it.
func TestValuesOfOtherKeys(t *testing.T) {
	for name, change := range map[string]func(bucket func(string) *bbolt.Bucket) error{
		"the record of another": func(bucket func(string) *bbolt.Bucket) error {
			b := bucket("records")
			return b.Put([]byte("web.0"), bytes.Clone(b.Get([]byte("web.1"))))
		},
		"the task of another, by an older program": func(bucket func(string) *bbolt.Bucket) error {
			return bucket("tasks").Put([]byte("web.0"), object(t, testAssignment(1, 1).Task))
		},
		"a task without its record": func(bucket func(string) *bbolt.Bucket) error {
			return bucket("records").Delete([]byte("web.0"))
		},
		"a task without its spec": func(bucket func(string) *bbolt.Bucket) error {
			return bucket("specs").Delete([]byte("web@1"))
		},
		"what it says of itself is gone": func(bucket func(string) *bbolt.Bucket) error {
			return bucket("meta").Delete(sumsKey)
		},
		"what it says of itself is of later": func(bucket func(string) *bbolt.Bucket) error {
			s, err := parseSums(bucket("meta").Get(sumsKey))
			s.Tx += 1000
			return errors.Join(err, (&change{tx: bucket("meta").Tx(), sums: *s}).seal(metaBucket, sumsKey, s))
		},
	} {
		path := filepath.Join(t.TempDir(), "journal.db")
		written(t, path, 8)
		raw(t, path, change)
		var bad *CorruptError
		if _, _, err := Open(path, quiet()); !errors.As(err, &bad) {
			t.Errorf("%s: %v", name, err)
		}
	}
	path := filepath.Join(t.TempDir(), "journal.db")
	written(t, path, 8)
	raw(t, path, func(bucket func(string) *bbolt.Bucket) error {
		s, err := parseSums(bucket("meta").Get(sumsKey))
		s.Format = 2
		return errors.Join(err, bucket("meta").Put(formatKey, []byte("2")), (&change{tx: bucket("meta").Tx()}).seal(metaBucket, sumsKey, s))
	})
	if _, _, err := Open(path, quiet()); err == nil || !strings.Contains(err.Error(), "use the version that wrote it") || errors.As(err, new(*CorruptError)) {
		t.Errorf("a newer format: %v", err)
	}
}

// What is damaged while the file is open and is written over is whole again;
// whatever else is damaged is found at the next start.
func TestWrittenOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	written(t, path, 8)
	j, _, err := Open(path, quiet())
	if err != nil {
		t.Fatal(err)
	}
	err = j.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(stateBucket)
		v := bytes.Clone(b.Get([]byte("web.0")))
		v[len(v)-5] ^= 1
		return b.Put([]byte("web.0"), v)
	})
	if err != nil {
		t.Fatal(err)
	}
	j.Put("web.0", nil, Record{Phase: Acked, Attempt: 1}, nil)
	if err := errors.Join(j.flush(), j.Close()); err != nil {
		t.Fatal(err)
	}
	got, err := serve(path)
	if err != nil || got.Entries[0].Record.Phase != Acked {
		t.Fatal(got, err)
	}
}

// Whatever bytes lie over a part of the file, a look at it neither crashes nor
// takes it for another journal.
func FuzzFile(f *testing.F) {
	// Few tasks, of which one fills half a page: it takes pages below pages, and to read
	// what is in them is most of what one costs.
	file, want := whole(f, 6, func(index, version int) *api.Assignment {
		a := testAssignment(index, version)
		a.Task.Message = strings.Repeat("x", 1000)
		return a
	})
	size := os.Getpagesize()
	if !slices.ContainsFunc(slices.Collect(slices.Chunk(file, size)), func(page []byte) bool { return page[8] == 1 }) {
		f.Fatal("all is in one page")
	}
	f.Add(uint32(16), []byte{1})
	f.Add(uint32(3*size+10), []byte{0xff, 0xff, 0xff})
	for page := range len(file) / size { // as if it held nothing
		f.Add(uint32(page*size+10), []byte{0, 0})
	}
	f.Add(uint32(4*size+24), []byte{0xff, 0xff, 0xff, 0xff, 0xff})
	path := filepath.Join(f.TempDir(), "journal.db") // a folder each time costs more than all else
	f.Fuzz(func(t *testing.T, at uint32, over []byte) {
		b := bytes.Clone(file)
		copy(b[int(at)%len(b):], over)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := serve(path)
		if err == nil && !reflect.DeepEqual(got, want) && !reflect.DeepEqual(got, served{}) { // what is over it may make an empty file of it
			t.Fatalf("%d entries, under boot %q", len(got.Entries), got.Boot)
		}
	})
}

// FuzzValues: whatever a value is, with a sum that is right or without one, it
// is refused, or read and written again.
func FuzzValues(f *testing.F) {
	a := testAssignment(0, 1)
	f.Add(uint8(0), "boot", []byte("x"), false)
	f.Add(uint8(0), string(sumsKey), object(f, sums{Tx: 7}), true)
	f.Add(uint8(1), a.Task.ID, object(f, a.Task), true)
	f.Add(uint8(2), a.Task.ID, object(f, Record{Attempt: 1, Final: &api.TaskStatus{}}), true)
	f.Add(uint8(3), "web@1", object(f, a.Spec), false)
	f.Fuzz(func(t *testing.T, bucket uint8, key string, v []byte, seal bool) {
		name := allBuckets[int(bucket)%len(allBuckets)]
		if seal && json.Valid(v) && len(v) > 1 && v[0] == '{' && v[len(v)-1] == '}' {
			v, _ = sealed.Add(v, name, []byte(key))
		}
		in := newContents()
		if in.value(name, []byte(key), v) != nil {
			return
		}
		for _, task := range in.tasks {
			if _, err := json.Marshal(task); err != nil {
				t.Fatalf("%q was read, and cannot be written: %v", v, err)
			}
		}
		for _, x := range []any{in.states, in.specs} {
			if _, err := json.Marshal(x); err != nil {
				t.Fatalf("%q was read, and cannot be written: %v", v, err)
			}
		}
	})
}

// What is there is what the file says that there is, unless a program without sums
// wrote last: then it says nothing, or something older.
func TestWhatAFileSaysOfItself(t *testing.T) {
	has := sums{Count: 3, Xor: 7}
	for _, c := range []struct {
		name   string
		said   *sums
		sealed bool
		fails  bool
	}{
		{"as it should be", &sums{Tx: 9, Count: 3, Xor: 7}, true, false},
		{"a value is missing", &sums{Tx: 9, Count: 4, Xor: 7}, true, true},
		{"a value is another", &sums{Tx: 9, Count: 3, Xor: 6}, true, true},
		{"its last change is missing", &sums{Tx: 10, Count: 3, Xor: 7}, true, true},
		{"a program without sums wrote last", &sums{Tx: 8, Count: 4, Xor: 6}, true, false},
		{"none but such programs wrote", nil, false, false},
		{"what it says is missing", nil, true, true},
	} {
		in := &contents{sums: has, said: c.said, sealed: c.sealed}
		if err := in.compare(9); (err != nil) != c.fails {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
