package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
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
		return errors.Join(s.StoreLogs(entries[:4]), s.SetUint64([]byte(KeyTerm), 7))
	})
	ours(func(l *Log) error {
		term, err := l.GetUint64([]byte(KeyTerm))
		if term != 7 {
			t.Errorf("the term is %d", term)
		}
		return errors.Join(err, holds(l, 4), l.StoreLogs(entries[4:7]), l.SetUint64([]byte(KeyTerm), 8))
	})
	old(func(s *raftboltdb.BoltStore) error {
		return errors.Join(holds(s, 7), s.DeleteRange(7, 7), s.StoreLogs(entries[6:8]), s.SetUint64([]byte(KeyTerm), 9))
	})
	ours(func(l *Log) error {
		return errors.Join(holds(l, 8), l.StoreLogs(entries[8:]), holds(l, len(entries)))
	})
	st, err := checkLog(path, 0)
	if err != nil || st.unsealed || len(st.votes) > 0 || st.last != uint64(len(entries)) {
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
	if err := l.StoreLog(&raft.Log{Index: 1, Term: 1, Data: []byte("a"), Extensions: []byte(sealMagic + "12345678abcd")}); err != nil {
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
			seal, err := parseRecord(b, &got)
			got.AppendedAt = want.AppendedAt // when it was made is not part of the state
			if err == nil && (!seal.present || !sameEntry(&got, want)) {
				t.Errorf("%s %v: %+v, %+v", what, bits, seal, got)
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
	logs := func(tx *bbolt.Tx) *bbolt.Bucket { return tx.Bucket([]byte(logBucket)) }
	votes := func(tx *bbolt.Tx) *bbolt.Bucket { return tx.Bucket([]byte(voteBucket)) }
	key := func(i uint64) []byte { return binary.BigEndian.AppendUint64(nil, i) }
	for name, c := range map[string]struct {
		change func(tx *bbolt.Tx) error
		says   string
	}{
		"its end":        {func(tx *bbolt.Tx) error { return logs(tx).Delete(key(10)) }, "ends with entry 9, and those up to 10 took effect"},
		"its beginning":  {func(tx *bbolt.Tx) error { return logs(tx).Delete(key(1)) }, "from 1 to 1 are missing"},
		"one in between": {func(tx *bbolt.Tx) error { return logs(tx).Delete(key(4)) }, "from 4 to 4 are missing"},
		"all":            {func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte(logBucket)) }, "missing"},
		"another vote": {func(tx *bbolt.Tx) error {
			v := sealVote([]byte(KeyCandidate), []byte("a"))
			v[0]++
			return votes(tx).Put([]byte(KeyCandidate), v)
		}, "LastVoteCand"},
		"the vote of another key": {func(tx *bbolt.Tx) error {
			return votes(tx).Put([]byte(KeyVoteTerm), bytes.Clone(votes(tx).Get([]byte(KeyTerm))))
		}, "LastVoteTerm"},
		"a vote that nobody asks for": {func(tx *bbolt.Tx) error { return votes(tx).Put([]byte("LastVoteCanD"), []byte("a")) }, "LastVoteCanD"},
		"its mark":                    {func(tx *bbolt.Tx) error { return votes(tx).Put([]byte(markKey), []byte("b")) }, "mark"},
		"order": {func(tx *bbolt.Tx) error {
			return logs(tx).Put(key(3), bytes.Clone(logs(tx).Get(key(2))))
		}, "it is entry 2"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), LogName)
			l, err := OpenLog(path, 0)
			if err != nil {
				t.Fatal(err)
			}
			err = errors.Join(l.StoreLogs(entries), l.Set([]byte(KeyCandidate), []byte("a")), l.SetUint64([]byte(KeyTerm), 3))
			l.NoteApplied(uint64(len(entries)))
			if err := errors.Join(err, l.Close(), changeFile(path, c.change)); err != nil {
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

// changeFile changes a log file as no program of ours would.
func changeFile(path string, f func(*bbolt.Tx) error) error {
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		return err
	}
	return errors.Join(db.Update(f), db.Close())
}

// Votes are read as they were kept, by this program and the one of before, and
// no flipped bit makes another of one.
func TestDamagedVotesAreRefused(t *testing.T) {
	for key, val := range map[string]string{KeyTerm: "\x00\x00\x00\x00\x00\x00\x01\x02", KeyCandidate: "10.0.0.11:5050"} {
		raw := sealVote([]byte(key), []byte(val))
		for i := range len(raw) * 8 {
			raw[i/8] ^= 1 << (i % 8)
			if got, sealed, err := openVote([]byte(key), raw); err == nil {
				t.Errorf("%s with bit %d flipped: %q, sealed %v", key, i, got, sealed)
			}
			raw[i/8] ^= 1 << (i % 8)
		}
		for n := range raw { // that of a candidate is like one without a seal; the layout of its page tells
			if got, sealed, err := openVote([]byte(key), raw[:n]); err == nil && (sealed || key != KeyCandidate && string(got) != val) {
				t.Errorf("%s cut after %d: %q, sealed %v", key, n, got, sealed)
			}
		}
		if got, sealed, err := openVote([]byte(key), raw); err != nil || !sealed || string(got) != val {
			t.Errorf("%s is %q, %v, %v", key, got, sealed, err)
		}
		if got, sealed, err := openVote([]byte(key), []byte(val)); err != nil || sealed || string(got) != val {
			t.Errorf("%s of the program of before is %q, %v, %v", key, got, sealed, err)
		}
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
	if l.first != 30 || l.last != 31 {
		t.Errorf("the log is from %d to %d", l.first, l.last)
	}
	if err := l.StoreLog(at(60)); err == nil {
		t.Error("a gap was made with no snapshot")
	}
	if err := errors.Join(l.tookSnapshot(59), l.StoreLog(at(60))); err != nil {
		t.Error(err)
	}
	var e raft.Log
	if err := l.GetLog(31, &e); !errors.Is(err, raft.ErrLogNotFound) || l.first != 60 {
		t.Errorf("what is before the gap is still there: %v", err)
	}
	if err := l.StoreLog(at(60)); err == nil {
		t.Error("an entry was replaced")
	}
	if err := l.DeleteRange(1, 100); err != nil || l.last != 0 {
		t.Errorf("it ends with %d, %v", l.last, err)
	}
}

// appendRecord appends a record as raft-boltdb writes it, sealed.
func appendRecord(b []byte, l *raft.Log) ([]byte, error) {
	at, err := l.AppendedAt.MarshalBinary()
	if err != nil { // an offset of the zone that the encoding does not have
		if at, err = l.AppendedAt.UTC().MarshalBinary(); err != nil {
			return nil, fmt.Errorf("encode when entry %d was made: %w", l.Index, err)
		}
	}
	b = appendBytes(append(b, recordTime...), at)
	b = append(b, recordData...)
	if l.Data == nil {
		b = append(b, 0xc0)
	} else {
		b = appendBytes(b, l.Data)
	}
	b = appendBytes(append(b, recordExt...), sealOf(l, 1))
	b = appendUint(append(b, recordIndex...), l.Index)
	b = appendUint(append(b, recordTerm...), l.Term)
	return appendUint(append(b, recordType...), uint64(l.Type)), nil
}

func appendBytes(b, v []byte) []byte {
	switch n := len(v); {
	case n < 32:
		b = append(b, 0xa0|byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, 0xda), uint16(n))
	default:
		b = binary.BigEndian.AppendUint32(append(b, 0xdb), uint32(n))
	}
	return append(b, v...)
}

func appendUint(b []byte, v uint64) []byte {
	switch {
	case v <= 0x7f:
		return append(b, byte(v))
	case v <= 0xff:
		return append(b, 0xcc, byte(v))
	case v <= 0xffff:
		return binary.BigEndian.AppendUint16(append(b, 0xcd), uint16(v))
	case v <= 0xffffffff:
		return binary.BigEndian.AppendUint32(append(b, 0xce), uint32(v))
	}
	return binary.BigEndian.AppendUint64(append(b, 0xcf), v)
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
		if seal, err := parseRecord(rec, &again); err != nil || !seal.present || !sameEntry(&e, &again) {
			t.Fatalf("%+v became %+v: %v", e, again, err)
		}
	})
}

func FuzzMark(f *testing.F) {
	f.Add((&mark{snapshot: 1, applied: 2}).encode())
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
	for i := range uint64(40) { // several pages, and one above them
		entries = append(entries, &raft.Log{Index: i + 1, Term: 1, Data: bytes.Repeat([]byte{byte(i)}, 150), AppendedAt: epoch})
	}
	err = errors.Join(l.StoreLogs(entries), l.Set([]byte(KeyCandidate), []byte("a")), l.Close())
	if err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	if !slices.ContainsFunc(slices.Collect(slices.Chunk(whole, os.Getpagesize())), func(page []byte) bool { return page[8] == 1 }) {
		f.Fatal("all is in one page")
	}
	f.Add(uint32(16), []byte{1})
	f.Add(uint32(3*os.Getpagesize()+10), []byte{0xff, 0xff, 0xff})
	for page := range len(whole) / os.Getpagesize() { // as if it held nothing
		f.Add(uint32(page*os.Getpagesize()+10), []byte{0, 0})
	}
	f.Add(uint32(4*os.Getpagesize()+24), []byte{0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, at uint32, over []byte) {
		b := bytes.Clone(whole)
		copy(b[int(at)%len(b):], over)
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

func FuzzVote(f *testing.F) {
	f.Add(KeyCandidate, sealVote([]byte(KeyCandidate), []byte("10.0.0.11:5050")))
	f.Add(KeyTerm, []byte("\x00\x00\x00\x00\x00\x00\x00\x07"))
	f.Fuzz(func(t *testing.T, key string, raw []byte) {
		val, sealed, err := openVote([]byte(key), raw)
		if err == nil && (sealed && !bytes.Equal(sealVote([]byte(key), val), raw) || !sealed && !bytes.Equal(val, raw)) {
			t.Fatalf("%q of %q, sealed %v", val, raw, sealed)
		}
	})
}
