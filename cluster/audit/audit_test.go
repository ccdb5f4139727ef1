package audit

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/api"
)

// open runs an audit until the returned function is called, or the test ends.
func open(t *testing.T, dir string, change ...func(*Config)) (l *Log, stop func()) {
	cfg := Config{Dir: dir, Node: "oak", Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&cfg)
	}
	l = New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	synctest.Wait()
	t.Cleanup(stop)
	return l, stop
}

func scaled(i int) (api.AuditRecord, any, any) {
	return api.AuditRecord{Actor: "token:ci", Token: "t1", From: "10.0.0.9", Action: "deploy", Route: "POST /v1/jobs/{id}/scale", Partition: "prod", Object: "web", Outcome: api.AuditDone},
		map[string]int{"count": i}, map[string]int{"count": i + 1}
}

func refused(from string, object string) api.AuditRecord {
	return api.AuditRecord{From: from, Action: "deploy", Route: "POST /v1/jobs/{id}/scale", Object: object, Outcome: api.AuditRefused, Code: api.CodeNotAllowed}
}

func list(t *testing.T, l *Log, f api.AuditFilter) []api.AuditRecord {
	t.Helper()
	synctest.Wait()
	out, err := l.Newest(t.Context(), f, api.MaxAudit)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func verify(t *testing.T, l *Log) *api.AuditCheck {
	t.Helper()
	synctest.Wait()
	c, err := l.Verify(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestWhatIsNotedIsKept also over a restart, and as one chain over many files.
func TestWhatIsNotedIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		small := func(c *Config) { c.MaxBytes = 512 << 10 } // some 40 records a file
		l, stop := open(t, dir, small)
		for i := range 100 {
			l.Note(scaled(i))
			synctest.Wait()
		}
		stop()
		l, _ = open(t, dir, small)
		for i := range 100 {
			l.Note(scaled(100 + i))
		}
		got := list(t, l, api.AuditFilter{User: "ci"})
		if len(got) != 200 {
			t.Fatalf("%d records", len(got))
		}
		for i, r := range got {
			if r.Number != uint64(i+1) || r.Node != "oak" || len(r.Changed) != 1 || r.Changed[0] != (api.AuditChange{Field: "count", Before: fmt.Sprint(i), After: fmt.Sprint(i + 1)}) {
				t.Fatalf("record %d: %+v", i, r)
			}
		}
		c := verify(t, l)
		if len(c.Faults)+len(c.Notes) > 0 || c.Records != 200 || c.Files < 3 || c.At != got[0].Hash || c.Head.Hash != got[199].Hash {
			t.Errorf("%+v", c)
		}
	})
}

func TestFilters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := open(t, t.TempDir())
		l.Note(scaled(0))
		time.Sleep(time.Hour)
		l.Note(refused("10.0.0.1", "db"), nil, nil)
		for f, want := range map[api.AuditFilter]int{
			{}: 2, {User: "token:ci"}: 1, {User: "t1"}: 1, {User: "c"}: 0, {Action: "deploy"}: 2, {Action: "exec"}: 0, {Object: "web"}: 1, {Object: "prod"}: 1, {Refused: true}: 1,
			{Since: time.Now().Add(-time.Minute)}: 1,
		} {
			if got := list(t, l, f); len(got) != want {
				t.Errorf("%+v: %d, want %d", f, len(got), want)
			}
		}
	})
}

// TestEveryChangeOfAFileIsFound flips each byte, drops each line and cuts the
// file anywhere.
func TestEveryChangeOfAFileIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l, _ := open(t, dir)
		for i := range 4 {
			l.Note(scaled(i))
		}
		if c := verify(t, l); len(c.Faults) > 0 {
			t.Fatalf("%+v", c)
		}
		path := l.files[0]
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		try := func(what string, b []byte) *api.AuditCheck {
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			c := verify(t, l)
			if len(c.Faults) == 0 || c.Faults[0].File != filepath.Base(path) {
				t.Errorf("%s is not found: %+v", what, c)
			}
			return c
		}
		for at := range whole {
			b := bytes.Clone(whole)
			b[at] ^= 1
			c := try(fmt.Sprint("bit in byte ", at), b)
			if line := bytes.Count(whole[:at], []byte("\n")) + 1; c.Faults[0].Line != line && b[at] != '\n' && whole[at] != '\n' {
				t.Fatalf("byte %d is in line %d: %+v", at, line, c.Faults)
			}
		}
		for at := range len(whole) - 1 {
			try(fmt.Sprint("cut at ", at), whole[:at])
		}
		lines := bytes.SplitAfter(whole, []byte("\n"))
		for i := range 4 {
			if i == 0 {
				continue // as if its time were over
			}
			try(fmt.Sprint("line out ", i), bytes.Join(append(append([][]byte{}, lines[:i]...), lines[i+1:]...), nil))
		}
		lines[1], lines[2] = lines[2], lines[1]
		try("order", bytes.Join(lines, nil))
	})
}

// TestAMarkIsHeldAgainst what is there later: cut off at the end, or written anew
// by somebody who made the chain fit.
func TestAMarkIsHeldAgainst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		small := func(c *Config) { c.MaxBytes = 512 << 10 }
		write := func(n int, by string) (*Log, func()) {
			l, stop := open(t, dir, small)
			for i := range n {
				r, before, after := scaled(i)
				r.Actor = by
				l.Note(r, before, after)
				synctest.Wait()
			}
			return l, stop
		}
		against := func(l *Log, m *api.AuditMark) string {
			why, err := l.Against(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			return why
		}
		l, stop := write(50, "token:ci")
		head, err := l.Head(t.Context())
		if err != nil || head.Number != 50 {
			t.Fatalf("%+v, %v", head, err)
		}
		mark := &api.AuditMark{Number: head.Number, Hash: head.Hash}
		if why := against(l, mark) + against(l, nil); why != "" {
			t.Error(why)
		}
		stop()
		l, stop = write(50, "token:ci")
		if why := against(l, mark); why != "" || len(l.files) < 3 {
			t.Errorf("%d files: %s", len(l.files), why)
		}
		for path := range l.files { // the end is gone
			if path > 0 {
				os.Remove(l.files[path])
			}
		}
		stop()
		l, stop = open(t, dir, small)
		if why := against(l, mark); !strings.Contains(why, "its end is missing") {
			t.Errorf("cut off: %q", why)
		}
		stop()
		os.RemoveAll(dir)
		l, _ = write(60, "token:bob")
		if why := against(l, mark); !strings.Contains(why, "record 50 is not the one") {
			t.Errorf("written anew: %q", why)
		}
		if c := verify(t, l); len(c.Faults) > 0 {
			t.Errorf("%+v", c)
		}
	})
}

// TestAnAuditThatIsNotOpenSaysNothing: it would be taken for one that is gone.
func TestAnAuditThatIsNotOpenSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l, stop := open(t, dir)
		l.Note(scaled(0))
		stop()
		l = New(Config{Dir: dir, Node: "oak", Now: time.Now, Log: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, headErr := l.Head(ctx)
		why, err := l.Against(ctx, &api.AuditMark{Number: 1, Hash: "x"})
		if check, verr := l.Verify(ctx, 0); headErr == nil || err == nil || why != "" || verr == nil {
			t.Errorf("%v, %q, %+v", headErr, why, check)
		}
	})
}

// TestAPowerCutLeavesAChain: what is not whole stays, is told of, and hides
// nothing.
func TestAPowerCutLeavesAChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l, stop := open(t, dir)
		for i := range 3 {
			l.Note(scaled(i))
		}
		stop()
		path := l.files[0]
		b, _ := os.ReadFile(path)
		for cut := len(b) / 3; cut < len(b); cut++ {
			if err := os.WriteFile(path, b[:cut], 0o600); err != nil {
				t.Fatal(err)
			}
			l, stop := open(t, dir)
			l.Note(scaled(9))
			c := verify(t, l)
			torn := cut > 0 && b[cut-1] != '\n'
			if len(c.Faults) > 0 || torn != (len(c.Notes) == 1) {
				t.Fatalf("cut at %d: %+v", cut, c)
			}
			got := list(t, l, api.AuditFilter{Action: "deploy"})
			if len(got) != bytes.Count(b[:cut], []byte("\n"))+1 {
				t.Fatalf("cut at %d: %d records", cut, len(got))
			}
			stop()
			for _, f := range l.files {
				if f != path {
					os.Remove(f)
				}
			}
		}
	})
}

// TestAFloodOfRefusalsIsFolded: whoever is refused how often, what is kept per
// minute is bounded, and the number is told.
func TestAFloodOfRefusalsIsFolded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := open(t, t.TempDir())
		const n = 5000
		for i := range n {
			object := []string{"web", others}[i%2]                         // no name of a job is special
			l.Note(refused(fmt.Sprint("2001:db8::", i), object), nil, nil) // each its own address
			r := refused("10.0.0.1", fmt.Sprint("job-", i))
			if i%2 > 0 {
				r = refused(fmt.Sprint("10.0.0.", i), others)
			}
			r.Actor = "token:greedy"
			l.Note(r, nil, nil)
		}
		l.Note(scaled(0))
		time.Sleep(window)
		count := map[string]int{}
		all := list(t, l, api.AuditFilter{})
		for _, r := range all {
			count[r.Actor] += 1 + r.More
			if r.More > 0 {
				count[r.Actor]-- // it was told, too
			}
		}
		if count[""] != n || count["token:greedy"] != n || count["token:ci"] != 1 {
			t.Errorf("%v", count)
		}
		if len(all) > 2*(maxStrangers+maxEach+2)+1 {
			t.Errorf("%d records", len(all))
		}
		if c := verify(t, l); len(c.Faults) > 0 {
			t.Errorf("%+v", c)
		}
	})
}

// TestWhatCostsNothingIsFolded: who needs no right for what is done, or changes nothing
// by it, cannot push out what others did; what is somebody's, and changes something,
// is told each time.
func TestWhatCostsNothingIsFolded(t *testing.T) {
	done := func(actor, route string) api.AuditRecord {
		return api.AuditRecord{Actor: actor, From: "10.0.0.9", Route: route, Object: "web", Outcome: api.AuditDone}
	}
	type value struct{ Count *int }
	of := func(n int) any { return value{&n} }
	for name, c := range map[string]struct {
		r             api.AuditRecord
		before, after any
		folds         bool
	}{
		"a removed node that asks what became of it": {done("", "POST /v1/renew"), nil, nil, true},
		"a node that renews":                         {done("node:elm", "POST /v1/internal/renew"), nil, nil, true},
		"a put of the same":                          {done("token:ci", "PUT /v1/jobs/{id}"), of(1), of(1), true},
		"a put":                                      {done("token:ci", "PUT /v1/jobs/{id}"), of(1), of(2), false},
		"a put of what was not there":                {done("token:ci", "PUT /v1/jobs/{id}"), nil, of(2), false},
		"a put of which no more is known":            {done("token:ci", "PUT /v1/blobs/{digest}"), nil, nil, false},
		"a join":                                     {done("", "POST /v1/join"), nil, nil, false},
		"an exec":                                    {done("token:ci", "POST /v1/tasks/{id}/exec"), of(1), of(1), false},
	} {
		synctest.Test(t, func(t *testing.T) {
			l, _ := open(t, t.TempDir())
			const n = 100
			for range n {
				l.Note(c.r, c.before, c.after)
			}
			time.Sleep(window)
			all, want, more := list(t, l, api.AuditFilter{}), n, 0
			if c.folds {
				want, more = 2, n-1
			}
			if len(all) != want || all[0].More+all[len(all)-1].More != more || all[0].Outcome != api.AuditDone || all[0].Code != "" {
				t.Errorf("%s: %d records, the newest %+v", name, len(all), all[0])
			}
		})
	}
}

// TestAFullDiskIsToldAndGotOver: nobody waits for long, and what was lost is
// counted.
func TestAFullDiskIsToldAndGotOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "audit")
		if err := os.WriteFile(dir, nil, 0o600); err != nil { // no folder can be made there
			t.Fatal(err)
		}
		l, _ := open(t, dir)
		l.Note(scaled(0))
		synctest.Wait()
		if l.Trouble() == "" {
			t.Fatal("nothing is told")
		}
		began := time.Now()
		const more = 100
		for i := range maxQueue + more {
			l.Note(scaled(i))
		}
		if d := time.Since(began); d > patience {
			t.Errorf("they waited %v", d)
		}
		os.Remove(dir)
		time.Sleep(retry)
		synctest.Wait()
		if l.Trouble() != "" {
			t.Errorf("still: %s", l.Trouble())
		}
		all := list(t, l, api.AuditFilter{})
		lost := list(t, l, api.AuditFilter{Action: api.AuditLost})
		if len(lost) != 1 || !strings.HasPrefix(lost[0].Reason, fmt.Sprint(1+maxQueue+more-(len(all)-1), " ")) {
			t.Errorf("%d are there, lost: %+v", len(all), lost)
		}
		if c := verify(t, l); len(c.Faults) > 0 {
			t.Errorf("%+v", c)
		}
	})
}

// TestOldFilesGo by size and by age, and what stays is one chain.
func TestOldFilesGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := open(t, t.TempDir(), func(c *Config) { c.MaxBytes = 128 << 10 })
		for i := range 2000 {
			l.Note(scaled(i))
		}
		c := verify(t, l)
		if len(c.Faults) > 0 || c.First == 1 || c.Head.Number != 2000 || c.Files > perLog+2 {
			t.Errorf("%+v", c)
		}
	})
}

// TestNoSecretIsKept: values of environments are masked wherever they are, and
// what is large is cut.
func TestNoSecretIsKept(t *testing.T) {
	type spec struct {
		Env  map[string]string `json:"env"`
		Args []string          `json:"args"`
		In   []map[string]any  `json:"in"`
	}
	v := map[string]any{"spec": spec{Env: map[string]string{"K": "s3cret"}, Args: []string{strings.Repeat("ä", 1000)}, In: []map[string]any{{"env": map[string]string{"K": "s3cret"}}}}}
	for i := range 100 {
		v[fmt.Sprint("f", i)] = i
	}
	for _, got := range [][]api.AuditChange{changes(nil, v), changes(v, nil)} {
		if s := fmt.Sprint(got); strings.Contains(s, "s3cret") || len(s) > (maxChanges+1)*(2*maxValue+64) || len(got) != maxChanges+1 {
			t.Errorf("%d changes: %s", len(got), s)
		}
	}
	one := changes(map[string]any{"spec": spec{Env: map[string]string{"K": "s3cret"}}}, map[string]any{"spec": spec{Env: map[string]string{"K": "0ther"}}})
	if len(one) != 1 || one[0] != (api.AuditChange{Field: "spec.env.K", Before: api.Masked, After: api.Masked}) {
		t.Errorf("%+v", one)
	}
}
