package fsm

import (
	"cmp"
	"iter"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
)

// Axis is by what use is summed up.
type Axis uint8

// The axes. They are in the state: append only.
const (
	ByShare Axis = iota // partition and user
	ByNode
	ByJob // partition, and name or id
	axisCount
)

// axes bound what is kept of each: for how many days, and in how many rows a day.
// What is beyond goes to one row of the others.
var axes = [axisCount]struct {
	days int64
	rows int
}{ByShare: {400, 128}, ByNode: {400, 128}, ByJob: {35, 1000}}

const (
	// maxAccounts bounds all rows: more than the axes have at most, unless a wrong
	// clock made days that are none.
	maxAccounts = 200_000
	// accountBatch is how many ended attempts wait to be added to rows: most are of
	// the same few, and a row is copied for each view that has it.
	accountBatch = 256
)

// Days is for how many days rows of an axis are kept.
func (a Axis) Days() int { return int(axes[a].days) }

type accountKey struct {
	Axis      Axis   `json:"axis,omitempty"`
	Day       int64  `json:"day"` // since 1970 began, in UTC
	Others    bool   `json:"others,omitempty"`
	Partition string `json:"partition,omitempty"`
	Name      string `json:"name,omitempty"`
}

func (k *accountKey) compare(o *accountKey) int {
	// The row of the others is the first of its day.
	return cmp.Or(cmp.Compare(k.Axis, o.Axis), cmp.Compare(k.Day, o.Day), compareBools(o.Others, k.Others),
		strings.Compare(k.Partition, o.Partition), strings.Compare(k.Name, o.Name))
}

// accountRow is what attempts came to on one day.
type accountRow struct {
	api.Extra
	accountKey
	Rows int `json:"rows,omitempty"` // of the row of the others: how many are beside it
	api.Account
}

var accountNoun = noun[accountRow]{
	less:  func(a, b *accountRow) bool { return a.compare(&b.accountKey) < 0 },
	forms: []form[accountRow]{{record: recAccount}},
}

// accounts are the rows, and the attempts that ended since. To whoever looks, and
// in a snapshot, those have been added.
type accounts struct {
	table[accountRow]
	open []run // in the order of the log
}

func newAccounts() accounts { return accounts{table: newTable(&accountNoun)} }

// fork has the copy that it is called on grow by itself.
func (a *accounts) fork() {
	a.table.fork()
	a.open = slices.Clip(a.open)
}

// firstAccount is before all rows: a clock may have stood before 1970, and what is
// beyond the bound of all rows is of that day.
var firstAccount = accountKey{Day: math.MinInt64, Others: true}

func (a *accounts) write(w *recordWriter, _ Level) {
	for row := range a.sums().from(&accountRow{accountKey: firstAccount}) {
		w.put(a.forms[0].record, row)
	}
}

// account notes an attempt, or part of one.
func (x *tx) account(r run) {
	a := &x.accounts
	if a.open == nil {
		a.open = make([]run, 0, accountBatch)
	}
	if a.open = append(a.open, r); len(a.open) >= accountBatch {
		x.settle()
	}
}

// settle adds what is open to the rows.
func (x *tx) settle() {
	for _, row := range x.accounts.sums().changed {
		x.accounts.put(x, row)
	}
	x.accounts.open = nil
}

// sums are the rows as they are once what is open is added.
type sums struct {
	rows    *table[accountRow]
	changed map[accountKey]*accountRow
	fresh   int // of those, how many there were not
}

func (a *accounts) sums() *sums {
	s := &sums{rows: &a.table, changed: map[accountKey]*accountRow{}}
	for i := range a.open {
		a.open[i].book(s)
	}
	return s
}

// at is a row that may be changed, nil if there is none.
func (s *sums) at(k accountKey) *accountRow {
	if row := s.changed[k]; row != nil {
		return row
	}
	old := s.rows.get(&accountRow{accountKey: k})
	if old == nil {
		return nil
	}
	row := *old
	s.changed[k] = &row
	return &row
}

func (s *sums) full() bool { return s.rows.len()+s.fresh >= maxAccounts }

func (s *sums) add(k accountKey) *accountRow {
	row := &accountRow{accountKey: k}
	s.changed[k] = row
	s.fresh++
	return row
}

// of is the row for a key: its own, else that of the others of the day. Beyond
// the bound of all rows it may be one of no day, which no report has.
func (s *sums) of(k accountKey) *accountRow {
	if row := s.at(k); row != nil {
		return row
	}
	others := accountKey{Axis: k.Axis, Day: k.Day, Others: true}
	head := s.at(others)
	switch {
	case head == nil && s.full():
		if others.Day = 0; s.at(others) == nil {
			return s.add(others)
		}
		return s.at(others)
	case head == nil:
		head = s.add(others)
	}
	if head.Rows >= axes[k.Axis].rows || s.full() {
		return head
	}
	head.Rows++
	return s.add(k)
}

// from lists all rows at and after a key, in order.
func (s *sums) from(key *accountRow) iter.Seq[*accountRow] {
	return func(yield func(*accountRow) bool) {
		changed := slices.SortedFunc(maps.Values(s.changed), func(a, b *accountRow) int { return a.compare(&b.accountKey) })
		at, _ := slices.BinarySearchFunc(changed, key, func(a, b *accountRow) int { return a.compare(&b.accountKey) })
		changed = changed[at:]
		for row := range s.rows.from(key) {
			for len(changed) > 0 && changed[0].compare(&row.accountKey) < 0 {
				if !yield(changed[0]) {
					return
				}
				changed = changed[1:]
			}
			if len(changed) > 0 && changed[0].accountKey == row.accountKey {
				row, changed = changed[0], changed[1:]
			}
			if !yield(row) {
				return
			}
		}
		for _, row := range changed {
			if !yield(row) {
				return
			}
		}
	}
}

// outdated are the rows of before the days that are kept at a time.
func (a *accounts) outdated(day int64) (out []*accountRow) {
	for axis := range axisCount {
		for row := range a.from(&accountRow{accountKey: accountKey{Axis: axis, Day: math.MinInt64, Others: true}}) {
			if row.Axis != axis || row.Day > day-axes[axis].days {
				break
			}
			out = append(out, row)
		}
	}
	return out
}
