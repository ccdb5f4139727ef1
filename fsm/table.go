package fsm

import (
	"iter"

	"github.com/google/btree"
)

// degree of the copy-on-write trees: measured best between 16 and 32.
const degree = 24

// noun says once what follows from a row of a table.
type noun[T any] struct {
	less     func(a, b *T) bool
	watch    Table
	id       func(*T) string          // what a watcher is told; nil: nobody can watch it
	revision func(*T) *uint64         // index of the log entry that changed the row last
	same     func(a, b *T) bool       // only what the cluster keeps itself differs: that is not a new revision; nil: never
	told     bool                     // each change of a row is told by an event, see teller
	follow   func(x *tx, old, new *T) // keeps indexes and sums in step; either may be nil
	forms    []form[T]                // in a snapshot: the earlier ones first
}

// form is how a snapshot keeps a row, below a level or, with 0, at every one.
type form[T any] struct {
	record byte
	below  Level
	out    func(*T) any             // nil: the row as it is
	in     func([]byte) (*T, error) // nil: the same
}

func (f *form[T]) write(row *T) any {
	if f.out == nil {
		return row
	}
	return f.out(row)
}

func (f *form[T]) read(body []byte) (*T, error) {
	if f.in == nil {
		return decoded[T](body)
	}
	return f.in(body)
}

func decoded[T any](body []byte) (*T, error) {
	v := new(T)
	return v, unmarshal(body, v)
}

// table is the rows of a noun in the order of their keys. It is the only one
// that changes them: views, snapshots, watches and indexes follow.
type table[T any] struct {
	rows *btree.BTreeG[*T]
	*noun[T]
}

func newTable[T any](n *noun[T]) table[T] { return table[T]{btree.NewG(degree, n.less), n} }

// put stores a row, which nobody else has yet, in place of the one with its
// key, which it returns; nil if there was none.
func (t *table[T]) put(x *tx, row *T) *T {
	old, _ := t.rows.ReplaceOrInsert(row)
	if t.revision != nil && x.does(Revisions) {
		*t.revision(row) = x.index
		if t.same != nil && old != nil && *t.revision(old) != 0 && t.same(old, row) {
			*t.revision(row) = *t.revision(old)
		}
	}
	t.changed(x, old, row)
	return old
}

// unchanged refuses if the row with that key has another revision than the one
// that a change was made on; 0 is any.
func (t *table[T]) unchanged(what string, key *T, revision uint64) error {
	if revision == 0 {
		return nil
	}
	old := t.get(key)
	if old == nil {
		return conflict("there is no such %s, and so no revision %d of it", what, revision)
	}
	if now := *t.revision(old); now != revision {
		return conflict("the %s was changed meanwhile, it is now at revision %d, not %d: look at it, and change it again", what, now, revision)
	}
	return nil
}

// load stores a row as it is.
func (t *table[T]) load(x *tx, row *T) {
	old, _ := t.rows.ReplaceOrInsert(row)
	t.changed(x, old, row)
}

// delete removes the row with that key, and returns it; nil if there is none.
func (t *table[T]) delete(x *tx, key *T) *T {
	old, had := t.rows.Delete(key)
	if had {
		t.changed(x, old, nil)
	}
	return old
}

func (t *table[T]) changed(x *tx, old, row *T) {
	if t.follow != nil {
		t.follow(x, old, row)
	}
	if t.told && x.tell != nil && x.does(ToldChanges) {
		x.tell.changes = append(x.tell.changes, change{old, row})
	}
	if t.id == nil {
		return
	}
	if row == nil {
		row = old
	}
	x.touch(t.watch, t.id(row))
}

// replace puts a copy in a row's place, so that it can be changed in place
// while no view has it.
func (t *table[T]) replace(row *T) { t.rows.ReplaceOrInsert(row) }

// get is nil if there is none with that key.
func (t *table[T]) get(key *T) *T { return get(t.rows, key) }

func (t *table[T]) len() int { return t.rows.Len() }

// first is nil if there is none.
func (t *table[T]) first() *T {
	row, _ := t.rows.Min()
	return row
}

func (t *table[T]) all() iter.Seq[*T] { return all(t.rows) }

func (t *table[T]) backward() iter.Seq[*T] {
	return func(yield func(*T) bool) { t.rows.Descend(func(row *T) bool { return yield(row) }) }
}

// from lists the rows at and after a key.
func (t *table[T]) from(key *T) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		t.rows.AscendGreaterOrEqual(key, func(row *T) bool { return yield(row) })
	}
}

// rewrite stores another form of each row that has one.
func (t *table[T]) rewrite(other func(*T) *T) {
	var changed []*T
	for row := range t.all() {
		if o := other(row); o != row {
			changed = append(changed, o)
		}
	}
	for _, row := range changed {
		t.replace(row)
	}
}

func (t *table[T]) fork() { t.rows = t.rows.Clone() }

func (t *table[T]) write(w *recordWriter, level Level) {
	for i := range t.forms {
		if f := &t.forms[i]; f.below == 0 || level < f.below {
			t.rows.Ascend(func(row *T) bool { return w.put(f.record, f.write(row)) })
			return
		}
	}
}

func (t *table[T]) readers(add func(record byte, read func(*tx, []byte) error)) {
	for i := range t.forms {
		f := &t.forms[i]
		add(f.record, func(x *tx, body []byte) error {
			row, err := f.read(body)
			if err == nil {
				t.load(x, row)
			}
			return err
		})
	}
}

// index is an order that follows from rows of tables. No snapshot has it.
type index[K any] struct{ *btree.BTreeG[K] }

func newIndex[K any](less func(a, b K) bool) index[K] { return index[K]{btree.NewG(degree, less)} }

func (i *index[K]) fork()                                     { i.BTreeG = i.Clone() }
func (*index[K]) write(*recordWriter, Level)                  {}
func (*index[K]) readers(func(byte, func(*tx, []byte) error)) {}

// part is a table or an index.
type part interface {
	fork() // no longer shares what it changes
	write(w *recordWriter, level Level)
	readers(add func(record byte, read func(*tx, []byte) error))
}

func get[T any](t *btree.BTreeG[T], key T) T {
	v, _ := t.Get(key)
	return v
}

func all[T any](t *btree.BTreeG[T]) iter.Seq[T] {
	return func(yield func(T) bool) { t.Ascend(func(v T) bool { return yield(v) }) }
}
