package consensus

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// losses are what may become of the log's file while its node runs.
var losses = map[string]func(t *testing.T, data string) error{
	"file deleted": func(_ *testing.T, data string) error { return os.Remove(filepath.Join(data, "raft", "raft.db")) },
	"raft moved": func(_ *testing.T, data string) error {
		return os.Rename(filepath.Join(data, "raft"), filepath.Join(data, "aside"))
	},
	"data folder deleted": func(_ *testing.T, data string) error { return os.RemoveAll(data) },
	"a file in its place": func(_ *testing.T, data string) error {
		if err := os.Rename(data, data+".aside"); err != nil {
			return err
		}
		return os.WriteFile(data, nil, 0o600)
	},
	"an older copy in its place": func(t *testing.T, data string) error {
		if err := copyDir(filepath.Join(data, "raft"), filepath.Join(data, "copy")); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(data, "raft"), filepath.Join(data, "aside")); err != nil {
			return err
		}
		return os.Rename(filepath.Join(data, "copy"), filepath.Join(data, "raft"))
	},
}

// What the next start would not find is not acknowledged, whatever became of the
// log's file: the node ends and says so, and its vote with it.
func TestNothingIsAcknowledgedByALogThatIsNotThere(t *testing.T) {
	for name, lose := range losses {
		t.Run(name, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			m := single(t, filepath.Join(data, "raft"), nil)
			m.must(t, initCluster())
			m.must(t, createJob("before"))
			if err := lose(t, data); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if res, err := m.Propose(ctx, cmds("after", 1)); err == nil {
				t.Fatalf("acknowledged: %v", res)
			}
			err := m.end()
			if err == nil || !strings.Contains(err.Error(), "raft.db was moved, deleted or replaced") {
				t.Errorf("the node ended with %v", err)
			}
		})
	}
}

// A vote is such an acknowledgement, too.
func TestNoVoteIsKeptInALogThatIsNotThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "raft")
	m := single(t, dir, nil)
	m.must(t, initCluster())
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	kept := make(chan error, 1)
	go func() { // it does not return before the end of the node
		kept <- guardedStable{m.stores.stable, m.guard, new(vote)}.Set([]byte("LastVoteCand"), []byte("n1"))
	}()
	select {
	case err := <-kept:
		t.Fatalf("it was kept: %v", err)
	case err := <-m.done:
		m.done <- nil
		if err == nil || !strings.Contains(err.Error(), "raft.db was moved, deleted or replaced") {
			t.Errorf("the node ended with %v", err)
		}
	}
}

// An idle voter notices it, too.
func TestAnIdleVoterNoticesThatItsLogIsGone(t *testing.T) {
	for name, lose := range losses {
		t.Run(name, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			m := single(t, filepath.Join(data, "raft"), func(c *Config) { c.placeEvery = 10 * time.Millisecond })
			m.must(t, initCluster())
			if err := lose(t, data); err != nil {
				t.Fatal(err)
			}
			err := <-m.done
			m.done <- nil
			if err == nil || !strings.Contains(err.Error(), "raft.db was moved, deleted or replaced") {
				t.Errorf("the node ended with %v", err)
			}
		})
	}
}
