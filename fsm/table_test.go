package fsm

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// Each table and index of the state is among its parts, once.
func TestPartsAreComplete(t *testing.T) {
	s := newTables()
	at := map[any]int{}
	for _, p := range s.parts() {
		at[p]++
	}
	v := reflect.ValueOf(&s).Elem()
	for i := range v.NumField() {
		f := reflect.NewAt(v.Field(i).Type(), v.Field(i).Addr().UnsafePointer()).Interface()
		if p, ok := f.(part); ok && at[p] != 1 {
			t.Errorf("%s is %d times among the parts", v.Type().Field(i).Name, at[p])
		} else if ok {
			delete(at, p)
		}
	}
	if len(at) != 0 {
		t.Errorf("%d parts are not fields", len(at))
	}
}

// Only a table changes its rows.
func TestOnlyTablesChangeRows(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	change := regexp.MustCompile(`\.rows\.(ReplaceOrInsert|Delete|DeleteMin|DeleteMax|Clear)`)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if m := change.Find(b); m != nil && f != "table.go" && !strings.HasSuffix(f, "_test.go") {
			t.Errorf("%s: %s: ask the table to", f, m)
		}
	}
}

// revisions are those of all rows, by table and key.
func revisions(t *tables) map[string]uint64 {
	out := map[string]uint64{}
	collect(out, "job ", &t.jobs)
	collect(out, "task ", &t.tasks)
	collect(out, "node ", &t.nodes)
	collect(out, "partition ", &t.partitions)
	collect(out, "offer ", &t.offers)
	collect(out, "token ", &t.tokens)
	collect(out, "blob ", &t.blobs)
	return out
}

func collect[T any](out map[string]uint64, what string, t *table[T]) {
	for row := range t.all() {
		out[what+t.id(row)] = *t.revision(row)
	}
}

// A revision is the index of the entry that changed the row; below level 1
// nothing has one, as older voters would not have it.
func TestRevisions(t *testing.T) {
	for seed := range uint64(6) {
		last := map[string]uint64{}
		changed := 0
		randomLog(t, seed, 400, func(s *Store) {
			v := s.View()
			now := revisions(&v.t)
			for key, r := range now {
				switch was := last[key]; {
				case r == was:
				case v.Level() == 0:
					t.Fatalf("%s has revision %d at level 0", key, r)
				case r != v.Index():
					t.Fatalf("index %d: %s went from revision %d to %d", v.Index(), key, was, r)
				default:
					changed++
				}
			}
			last = now
		})
		if seed%2 == 1 && changed < 50 {
			t.Errorf("seed %d: only %d changes", seed, changed)
		}
	}
}
