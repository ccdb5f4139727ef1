package audit

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/api"
)

// lines makes the records 1 to n, each so long after the one before, as a file has
// them.
func lines(t *testing.T, n int, apart time.Duration) [][]byte {
	t.Helper()
	var head api.AuditHead
	out := make([][]byte, n)
	for i := range out {
		r, _, _ := scaled(i)
		r.Time, r.Node = time.Now().Add(time.Duration(i-n)*apart), "oak"
		b, err := link(&r, &head)
		if err != nil {
			t.Fatal(err)
		}
		out[i] = b
	}
	return out
}

func joined(lines ...[]byte) []byte { return bytes.Join(lines, nil) }

func nuls(n int) []byte { return make([]byte, n) }

// relinked is a line with something else in it, and a hash that fits.
func relinked(line []byte, old, with string) []byte {
	body := bytes.ReplaceAll(line[:len(line)-1-len(hashStart)-hashSize-len(hashEnd)], []byte(old), []byte(with))
	return append(append(body, hashStart+sum(append(bytes.Clone(body), '}'))+hashEnd...), '\n')
}

// TestDamageIsToldApart: what a power cut leaves of the last that was written is a
// note, once the start after it has recorded it; all else is a fault, by its kind
// and place, whoever starts the node anew.
func TestDamageIsToldApart(t *testing.T) {
	for name, c := range map[string]struct {
		file    func(l [][]byte) []byte // of six records
		crashed bool
		kind    api.AuditDamage
		line    int
		apart   time.Duration // 0 = a second
	}{
		"as it was written":       {file: func(l [][]byte) []byte { return joined(l...) }},
		"half a record":           {file: func(l [][]byte) []byte { return joined(joined(l[:5]...), l[5][:40]) }, crashed: true},
		"one byte of a record":    {file: func(l [][]byte) []byte { return joined(joined(l[:5]...), l[5][:1]) }, crashed: true},
		"a record without end":    {file: func(l [][]byte) []byte { return bytes.TrimSuffix(joined(l...), []byte("\n")) }, crashed: true},
		"NUL bytes after it":      {file: func(l [][]byte) []byte { return joined(joined(l...), nuls(4096)) }, crashed: true},
		"NUL bytes within one":    {file: func(l [][]byte) []byte { return joined(joined(l[:5]...), l[5][:40], nuls(4096)) }, crashed: true},
		"NUL bytes, an end":       {file: func(l [][]byte) []byte { return joined(joined(l[:4]...), l[4][:40], nuls(512), l[5][90:]) }, crashed: true},
		"NUL bytes, a record":     {file: func(l [][]byte) []byte { return joined(joined(l[:3]...), l[3][:9], nuls(512), l[4][90:], l[5]) }, crashed: true},
		"NUL bytes alone":         {file: func([][]byte) []byte { return nuls(4096) }, crashed: true},
		"NUL bytes long before":   {file: func(l [][]byte) []byte { return joined(l[0], nuls(512), l[2][90:], joined(l[3:]...)) }, kind: api.AuditAltered, line: 2, apart: unwritten},
		"NUL bytes after another": {file: func(l [][]byte) []byte { return joined(joined(l[:5]...), []byte("x"), nuls(512)) }, kind: api.AuditAltered, line: 6},
		"half of another":         {file: func(l [][]byte) []byte { return joined(joined(l[:5]...), l[3][:40]) }, kind: api.AuditAltered, line: 6},
		"text at the end":         {file: func(l [][]byte) []byte { return joined(joined(l...), []byte("hello")) }, kind: api.AuditAltered, line: 7},
		"the last one changed": {file: func(l [][]byte) []byte {
			return joined(joined(l[:5]...), bytes.Replace(l[5], []byte("web"), []byte("bew"), 1))
		}, kind: api.AuditAltered, line: 6},
		"a middle one changed": {file: func(l [][]byte) []byte {
			return joined(joined(l[:2]...), bytes.Replace(l[2], []byte("web"), []byte("bew"), 1), joined(l[3:]...))
		}, kind: api.AuditAltered, line: 3},
		"changed, the hash too": {file: func(l [][]byte) []byte {
			return joined(joined(l[:2]...), relinked(l[2], "web", "bew"), joined(l[3:]...))
		}, kind: api.AuditAltered, line: 4},
		"one taken out":  {file: func(l [][]byte) []byte { return joined(joined(l[:2]...), joined(l[3:]...)) }, kind: api.AuditMissing, line: 3},
		"many taken out": {file: func(l [][]byte) []byte { return joined(l[0], l[5]) }, kind: api.AuditMissing, line: 2},
		"one put in": {file: func(l [][]byte) []byte {
			return joined(joined(l[:3]...), relinked(l[2], "web", "bew"), joined(l[3:]...))
		}, kind: api.AuditInserted, line: 4},
		"one twice":            {file: func(l [][]byte) []byte { return joined(joined(l[:3]...), joined(l[2:]...)) }, kind: api.AuditInserted, line: 4},
		"two in another order": {file: func(l [][]byte) []byte { return joined(l[0], l[2], l[1], joined(l[3:]...)) }, kind: api.AuditMissing, line: 2},
		"an empty line":        {file: func(l [][]byte) []byte { return joined(joined(l[:3]...), []byte("\n"), joined(l[3:]...)) }, kind: api.AuditAltered, line: 4},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				all := lines(t, 6, max(c.apart, time.Second))
				path := filepath.Join(dir, "0000000001"+suffix)
				if err := os.WriteFile(path, c.file(all), 0o600); err != nil {
					t.Fatal(err)
				}
				for start := range 3 {
					l, stop := open(t, dir)
					l.Note(scaled(start))
					got := verify(t, l)
					switch {
					case c.kind == "" && len(got.Faults) > 0, c.crashed != (len(got.Notes) > 0):
						t.Fatalf("start %d: %+v", start, got)
					case c.kind != "" && (len(got.Faults) == 0 || got.Faults[0].Kind != c.kind || got.Faults[0].File != filepath.Base(path) || got.Faults[0].Line != c.line):
						t.Fatalf("start %d: want %s in line %d: %+v", start, c.kind, c.line, got)
					}
					if b, err := os.ReadFile(path); c.crashed && (err != nil || !bytes.Equal(b, c.file(all))) {
						t.Fatalf("start %d: what was left was changed: %v", start, err)
					}
					stop()
				}
			})
		})
	}
}

// TestEachTearIsTold: also of a node that loses its power while it starts after it
// did, and of one whose disk takes nothing yet.
func TestEachTearIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		all := lines(t, 3, time.Second)
		for i, b := range [][]byte{joined(all[0], all[1], all[2][:40]), nuls(512), {}, []byte(`{"num`)} {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%010d%s", i+1, suffix)), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		l, stop := open(t, dir)
		if c := verify(t, l); len(c.Faults) > 0 || len(c.Notes) != 3 || c.Head.Number != 5 {
			t.Errorf("%+v", c)
		}
		newest := l.files[len(l.files)-1]
		stop()
		// As if the disk had been full: nothing was recorded of what was found.
		if err := os.Remove(newest); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(newest, 0o700); err != nil { // which nothing can be written to
			t.Fatal(err)
		}
		l, _ = open(t, dir)
		synctest.Wait()
		c := verify(t, l)
		for _, f := range c.Faults {
			if f.File != filepath.Base(newest) {
				t.Errorf("%+v", f)
			}
		}
		if len(c.Notes) != 3 {
			t.Errorf("%+v", c)
		}
	})
}

// TestWhatTheClusterMissedStays: a start finds that the audit is not the one which
// the cluster was told of, and the audit tells so from then on.
func TestWhatTheClusterMissedStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l, stop := open(t, dir)
		l.Note(api.AuditRecord{Action: api.AuditBroken, Outcome: api.AuditFailed, Reason: "its end is missing"}, nil, nil)
		l.Note(scaled(0))
		verify(t, l)
		stop()
		l, _ = open(t, dir)
		if c := verify(t, l); len(c.Faults) != 1 || c.Faults[0].Kind != api.AuditCutOff || !strings.Contains(c.Faults[0].What, "its end is missing") {
			t.Errorf("%+v", c)
		}
	})
}
