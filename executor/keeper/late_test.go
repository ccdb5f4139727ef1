package keeper

import (
	"os"
	"path/filepath"
	"testing"
)

// What a keeper noted may run, whatever it says; so may anything if what it noted
// cannot be known.
func TestWhatMayBegin(t *testing.T) {
	dir := t.TempDir()
	p := &peer{cfg: ClientConfig{Dir: dir}}
	says := func(what, id string, want bool) {
		t.Helper()
		if got := p.mayBegin(t.Context(), id); got != want {
			t.Errorf("%s: %v", what, got)
		}
	}
	says("no ledger", "a.0/1", true)
	l, _, err := openLedger(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	noted := func(e *entry) {
		t.Helper()
		if err := l.write(e); err != nil {
			t.Fatal(err)
		}
	}
	says("never noted", "a.0/1", false)
	noted(l.start(Status{ID: "a.0/1", State: Starting}))
	noted(l.start(Status{ID: "b.0/1", State: Starting}))
	noted(l.end(Status{ID: "b.0/1", State: Ended}))
	says("noted", "a.0/1", true)
	says("ended", "b.0/1", true)
	says("another", "c.0/1", false)
	noted(l.forget("b.0/1"))
	says("refused, and forgotten", "b.0/1", false)
	f, err := os.OpenFile(filepath.Join(dir, ledgerFile), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("{\"start\":\n"); err != nil {
		t.Fatal(err)
	}
	says("a damaged ledger", "c.0/1", true)
}
