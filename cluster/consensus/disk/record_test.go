package disk

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// testEntries are of each size and kind that is written in a way of its own.
func testEntries() []*raft.Log {
	var out []*raft.Log
	for i, n := range []int{-1, 0, 5, 31, 32, 255, 256, 65535, 65536, 70000} {
		e := &raft.Log{Index: uint64(i + 1), Term: 1 << (i * 6), Type: raft.LogType(i % 6), AppendedAt: time.Unix(int64(i), int64(i)).UTC()}
		if n >= 0 {
			e.Data = bytes.Repeat([]byte{byte(n)}, n)
		}
		out = append(out, e)
	}
	out[1].AppendedAt = time.Time{}
	out[2].AppendedAt = time.Unix(7, 7).In(time.FixedZone("", -5400))
	return out
}

func sameEntry(a, b *raft.Log) bool {
	return a.Index == b.Index && a.Term == b.Term && a.Type == b.Type && bytes.Equal(a.Data, b.Data) && a.AppendedAt.Equal(b.AppendedAt)
}

// The program of before must read what this one writes, and this one what that
// one wrote, also turn by turn, as an upgrade may be taken back.
func TestTheLogFileIsRaftBoltdbs(t *testing.T) {
	path := filepath.Join(t.TempDir(), LogName)
	entries := testEntries()
	old := func(f func(*raftboltdb.BoltStore) error) {
		t.Helper()
		s, err := raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: &bbolt.Options{NoFreelistSync: true}})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f(s), s.Close()); err != nil {
			t.Fatal(err)
		}
	}
	ours := func(f func(*Log) error) {
		t.Helper()
		l, err := OpenLog(path, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f(l), l.Close()); err != nil {
			t.Fatal(err)
		}
	}
	holds := func(s raft.LogStore, n int) error {
		last, err := s.LastIndex()
		if err != nil || last != uint64(n) {
			t.Errorf("last index %d of %d: %v", last, n, err)
		}
		for _, e := range entries[:n] {
			var got raft.Log
			if err := s.GetLog(e.Index, &got); err != nil {
				return err
			}
			if !sameEntry(&got, e) {
				t.Errorf("entry %d is %+v", e.Index, got)
			}
		}
		return nil
	}
	old(func(s *raftboltdb.BoltStore) error {
		return errors.Join(s.StoreLogs(entries[:4]), s.SetUint64([]byte("CurrentTerm"), 7))
	})
	ours(func(l *Log) error {
		term, err := l.GetUint64([]byte("CurrentTerm"))
		if term != 7 {
			t.Errorf("the term is %d", term)
		}
		return errors.Join(err, holds(l, 4), l.StoreLogs(entries[4:7]), l.SetUint64([]byte("CurrentTerm"), 8))
	})
	old(func(s *raftboltdb.BoltStore) error {
		return errors.Join(holds(s, 7), s.DeleteRange(7, 7), s.StoreLogs(entries[6:8]), s.SetUint64([]byte("CurrentTerm"), 9))
	})
	ours(func(l *Log) error {
		return errors.Join(holds(l, 8), l.StoreLogs(entries[8:]), holds(l, len(entries)))
	})
	st, err := checkLog(path, 0)
	if err != nil || st.unsealed || !st.marked || st.last != uint64(len(entries)) {
		t.Errorf("not all is sealed: %+v, %v", st, err)
	}
}

// A seal of another node, which the program of before passes on, is replaced.
func TestSealsStayOnTheirDisk(t *testing.T) {
	l, err := OpenLog(filepath.Join(t.TempDir(), LogName), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.StoreLog(&raft.Log{Index: 1, Term: 1, Data: []byte("a"), Extensions: []byte(sealMagic + "abcd")}); err != nil {
		t.Fatal(err)
	}
	var e raft.Log
	if err := l.GetLog(1, &e); err != nil || e.Extensions != nil || string(e.Data) != "a" {
		t.Errorf("%+v, %v", e, err)
	}
}

// No one or two bits make another entry of a record, sealed or not to tell from
// sealed; nor do many.
func TestDamagedRecordsAreRefused(t *testing.T) {
	for _, want := range testEntries()[:5] {
		rec, err := appendRecord(nil, want)
		if err != nil {
			t.Fatal(err)
		}
		check := func(b []byte, what string, bits ...int) {
			var got raft.Log
			sealed, err := parseRecord(b, &got)
			got.AppendedAt = want.AppendedAt // when it was made is no part of the state
			if err == nil && (!sealed || !sameEntry(&got, want)) {
				t.Errorf("%s %v: sealed %v, %+v", what, bits, sealed, got)
			}
		}
		flip := func(b []byte, bit int) { b[bit/8] ^= 1 << (bit % 8) }
		b := bytes.Clone(rec)
		for i := range len(b) * 8 {
			flip(b, i)
			check(b, "bit", i)
			for j := range i {
				flip(b, j)
				check(b, "bits", i, j)
				flip(b, j)
			}
			flip(b, i)
		}
		for n := range rec {
			check(rec[:n], "cut after", n)
		}
		random := rand.New(rand.NewPCG(1, want.Index))
		for range 20_000 {
			b := bytes.Clone(rec)
			for at := random.IntN(len(b)); at < len(b); at += 1 + random.IntN(9) {
				b[at] = byte(random.Uint32())
			}
			check(b, "bytes")
		}
	}
}

// What a log lacks is found when it is opened, whatever page it was on.
func TestLogsThatLackSomethingAreRefused(t *testing.T) {
	entries := testEntries()
	for name, c := range map[string]struct {
		change func(tx *bbolt.Tx) error
		says   string
	}{
		"its end":        {func(tx *bbolt.Tx) error { return tx.Bucket(logBucket).Delete(indexKey(uint64(len(entries)))) }, "there were those from 1 to 10"},
		"its beginning":  {func(tx *bbolt.Tx) error { return tx.Bucket(logBucket).Delete(indexKey(1)) }, "from 1 to 1 are missing"},
		"one in between": {func(tx *bbolt.Tx) error { return tx.Bucket(logBucket).Delete(indexKey(4)) }, "from 4 to 4 are missing"},
		"all":            {func(tx *bbolt.Tx) error { return errors.Join(tx.DeleteBucket(logBucket)) }, "missing"},
		"a vote":         {func(tx *bbolt.Tx) error { return tx.Bucket(voteBucket).Delete([]byte("LastVoteCand")) }, "votes"},
		"another vote":   {func(tx *bbolt.Tx) error { return tx.Bucket(voteBucket).Put([]byte("LastVoteCand"), []byte("b")) }, "votes"},
		"its mark":       {func(tx *bbolt.Tx) error { return tx.Bucket(voteBucket).Put([]byte(markKey), []byte("b")) }, "mark"},
		"order": {func(tx *bbolt.Tx) error {
			b := tx.Bucket(logBucket)
			return b.Put(indexKey(3), bytes.Clone(b.Get(indexKey(2))))
		}, "it is entry 2"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), LogName)
			l, err := OpenLog(path, 0)
			if err != nil {
				t.Fatal(err)
			}
			err = errors.Join(l.StoreLogs(entries), l.Set([]byte("LastVoteCand"), []byte("a")))
			if err != nil {
				t.Fatal(err)
			}
			// The mark stays that of the last change, as when the page was damaged.
			err = l.db.Update(func(tx *bbolt.Tx) error {
				m := l.mark
				m.tx = uint64(tx.ID())
				return errors.Join(tx.Bucket(voteBucket).Put([]byte(markKey), m.encode()), c.change(tx))
			})
			if err := errors.Join(err, l.Close()); err != nil {
				t.Fatal(err)
			}
			if l, err := OpenLog(path, 0); err == nil {
				_ = l.Close()
				t.Error("it was opened")
			} else if !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), path) {
				t.Error(err)
			}
		})
	}
}

// Raft leaves a gap below a snapshot that it was fed; the program of before
// kept what was before it.
func TestGapsBelowASnapshot(t *testing.T) {
	path := filepath.Join(t.TempDir(), LogName)
	s, err := raftboltdb.New(raftboltdb.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	at := func(i uint64) *raft.Log { return &raft.Log{Index: i, Term: 100 - i/10, AppendedAt: epoch} }
	if err := errors.Join(s.StoreLogs([]*raft.Log{at(1), at(2), at(30), at(31)}), s.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLog(path, 28); err == nil {
		t.Error("entry 29 is missing, and nobody said so")
	}
	l, err := OpenLog(path, 29)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if l.mark.first != 30 || l.mark.last != 31 {
		t.Errorf("the log is from %d to %d", l.mark.first, l.mark.last)
	}
	if err := l.StoreLog(at(60)); err == nil {
		t.Error("a gap was made with no snapshot")
	}
	if err := errors.Join(l.tookSnapshot(59), l.StoreLog(at(60))); err != nil {
		t.Error(err)
	}
	var e raft.Log
	if err := l.GetLog(31, &e); !errors.Is(err, raft.ErrLogNotFound) || l.mark.first != 60 {
		t.Errorf("what is before the gap is still there: %v", err)
	}
	if err := l.StoreLog(at(60)); err == nil {
		t.Error("an entry was replaced")
	}
	if err := l.DeleteRange(1, 100); err != nil || l.mark.last != 0 {
		t.Errorf("%+v, %v", l.mark, err)
	}
}

func FuzzRecord(f *testing.F) {
	for _, e := range testEntries()[:6] {
		b, err := appendRecord(nil, e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(recordTime + "\xdb\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var e, again raft.Log
		if _, err := parseRecord(b, &e); err != nil {
			return
		}
		rec, err := appendRecord(nil, &e)
		if err != nil {
			t.Fatal(err)
		}
		if sealed, err := parseRecord(rec, &again); err != nil || !sealed || !sameEntry(&e, &again) {
			t.Fatalf("%+v became %+v: %v", e, again, err)
		}
	})
}

func FuzzMark(f *testing.F) {
	f.Add((&mark{tx: 1, last: 2}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMark(b)
		if err == nil && !bytes.Equal(m.encode(), b) {
			t.Fatalf("%+v", m)
		}
	})
}

// Whatever a file holds, a look at it neither crashes nor takes it for a log
// that it is not.
func FuzzLogFile(f *testing.F) {
	path := filepath.Join(f.TempDir(), LogName)
	l, err := OpenLog(path, 0)
	if err != nil {
		f.Fatal(err)
	}
	var entries []*raft.Log
	for i := range uint64(100) { // several pages
		entries = append(entries, &raft.Log{Index: i + 1, Term: 1, Data: bytes.Repeat([]byte{byte(i)}, 150), AppendedAt: epoch})
	}
	err = errors.Join(l.StoreLogs(entries), l.Set([]byte("LastVoteCand"), []byte("a")), l.Close())
	if err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(16), []byte{1})
	f.Add(uint32(3*os.Getpagesize()+10), []byte{0xff, 0xff, 0xff})
	f.Add(uint32(4*os.Getpagesize()+24), []byte{0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, at uint32, over []byte) {
		b := bytes.Clone(whole)
		copy(b[int(at)%len(b):], over)
		path := filepath.Join(t.TempDir(), LogName)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := OpenLog(path, 0)
		if err != nil {
			return
		}
		defer l.Close()
		last, err := l.LastIndex()
		if err != nil || last != 0 && last != uint64(len(entries)) { // 0: what is over it made an empty file of it
			t.Fatalf("it ends with %d: %v", last, err)
		}
		for i := uint64(1); i <= last; i++ {
			var e raft.Log
			if err := l.GetLog(i, &e); err != nil || !bytes.Equal(e.Data, entries[i-1].Data) {
				t.Fatalf("entry %d: %v", i, err)
			}
		}
	})
}
