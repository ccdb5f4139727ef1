package consensus

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/mesita/mesita/cluster/consensus/disk"
)

// stranger is a transport that a leader of another history speaks through.
func stranger(t *testing.T, to *raft.InmemTransport) *raft.InmemTransport {
	_, tr := raft.NewInmemTransportWithTimeout("stranger", rpcTimeout)
	tr.Connect(to.LocalAddr(), to)
	t.Cleanup(func() { tr.DisconnectAll() })
	return tr
}

// Whoever leads, and however it came to: what took effect on a node is never cut
// off its log, and its state never goes back to an older snapshot.
func TestWhatTookEffectIsNeverCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newMemCluster(t, 1, nil)
		n := c.nodes[0]
		for _, cmd := range cmds("j", 5) {
			n.must(t, cmd)
		}
		before, last := n.bytes(t), n.LastIndex()
		var at raft.Log
		if err := n.stores.logs.GetLog(last-2, &at); err != nil {
			t.Fatal(err)
		}
		tr := stranger(t, c.wires[0])
		header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte("x"), Addr: []byte("stranger")}
		var snap raft.InstallSnapshotResponse
		err := tr.InstallSnapshot("n0", "a0", &raft.InstallSnapshotRequest{RPCHeader: header, SnapshotVersion: 1, Term: 90, LastLogIndex: 2, LastLogTerm: 1, Size: 3},
			&snap, strings.NewReader("old"))
		if err == nil || !strings.Contains(err.Error(), "took effect here") {
			t.Errorf("an old snapshot: %v", err)
		}
		go func() {
			var resp raft.AppendEntriesResponse
			_ = tr.AppendEntries("n0", "a0", &raft.AppendEntriesRequest{RPCHeader: header, Term: 91, PrevLogEntry: at.Index, PrevLogTerm: at.Term,
				Entries: []*raft.Log{{Index: at.Index + 1, Term: 91, Type: raft.LogNoop}}}, &resp) // nobody answers
		}()
		err = <-n.done
		n.done <- nil
		if err == nil || !strings.Contains(err.Error(), "another history") {
			t.Errorf("the node ended with %v", err)
		}
		if got, _ := n.stores.logs.LastIndex(); got != last || !bytes.Equal(n.bytes(t), before) {
			t.Errorf("the log ends at %d, and ended at %d", got, last)
		}
		c.settle(2 * rpcTimeout)
	})
}

// A node remembers what took effect beyond its end.
func TestWhatTookEffectInAnEarlierLife(t *testing.T) {
	dir := t.TempDir()
	m := single(t, dir, nil)
	m.must(t, initCluster())
	m.must(t, cmds("j", 3)...)
	m.must(t, cmds("k", 3)...)
	if err := m.end(); err != nil {
		t.Fatal(err)
	}
	l, err := disk.OpenLog(filepath.Join(dir, disk.LogName), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	halted := errors.New("halted")
	g := newGuard(quiet(), time.Second, nil)
	g.snaps, g.applied = raft.NewInmemSnapshotStore(), func() uint64 { return l.Applied() }
	g.halt = func(err error) { halted = err }
	logs := guardedLogs{l, g}
	last, err := l.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	if err := logs.DeleteRange(last-1, last); err == nil || halted != err {
		t.Errorf("cut: %v, halted: %v", err, halted)
	}
	if now, _ := l.LastIndex(); now != last {
		t.Error("it was cut all the same")
	}
}

// A page that is damaged while the node runs halts it in words; the program does
// not crash, and nothing else is served or sent.
func TestDamageWhileRunning(t *testing.T) {
	m := single(t, t.TempDir(), nil)
	m.must(t, initCluster())
	m.must(t, createJob("a"))
	last := m.LastIndex()
	path := filepath.Join(m.cfg.Dir, disk.LogName)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; ; at++ { // also where the entry was before
		i := bytes.Index(b[at:], []byte("/bin/true"))
		if i < 0 {
			break
		}
		at += i
		if _, err := f.WriteAt([]byte("/bin/trUe"), int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	go func() { // it does not return before the end of the node
		var e raft.Log
		_ = guardedLogs{m.stores.logs, m.guard}.GetLog(last, &e)
	}()
	err = <-m.done
	m.done <- nil
	if err == nil || !strings.Contains(err.Error(), "raft.db is damaged") {
		t.Errorf("the node ended with %v", err)
	}
}
