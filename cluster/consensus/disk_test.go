package consensus

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// single starts the only voter of a cluster in dir.
func single(t testing.TB, dir string, change func(*Config)) *member {
	t.Helper()
	l := listenTCP(t)
	cfg := Config{NodeID: "n0", Dir: dir, Stream: l}
	if change != nil {
		change(&cfg)
	}
	m := startNode(t, cfg)
	if err := m.Bootstrap(l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "a leader", m.IsLeader)
	return m
}

// The only voter does not wait for an election that nobody else can win.
func TestSingleVoterLeadsAtOnce(t *testing.T) {
	dir := t.TempDir()
	for _, made := range []bool{false, true} { // a new cluster, then a restart
		synctest.Test(t, func(t *testing.T) {
			cfg := (&memCluster{}).config(0)
			hearts := newFastHearts(cfg.Transport.(*raft.InmemTransport))
			t.Cleanup(func() { close(hearts.ending) })
			cfg.Transport, cfg.Dir, cfg.LogStore, cfg.StableStore, cfg.SnapshotStore = hearts, dir, nil, nil, nil
			began := time.Now()
			m := startNode(t, cfg)
			if !made {
				if err := m.Bootstrap("a0"); err != nil {
					t.Fatal(err)
				}
			}
			term, cancel, err := m.AwaitLeadership(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Barrier(term); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > heartbeatTimeout/2 { // fake: the disk takes no time
				t.Errorf("leading took %v", took)
			}
			cancel()
			if !m.CaughtUp() || !m.HasConfiguration() || m.LeaderID() != "n0" {
				t.Error("the leader does not know what it is")
			}
			if err := m.end(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestRestartWithSnapshot(t *testing.T) {
	dir := t.TempDir()
	small := func(c *Config) { c.snapshotEntries = 20 }
	m := single(t, dir, small)
	m.must(t, initCluster())
	for i := range 50 {
		m.must(t, createJob(fmt.Sprint("j", i)))
	}
	waitFor(t, "a snapshot", func() bool {
		found, _ := filepath.Glob(filepath.Join(dir, "snapshots", "*", "state.bin"))
		return len(found) > 0
	})
	want := m.bytes(t)
	if err := m.end(); err != nil {
		t.Fatal(err)
	}
	m = single(t, dir, small)
	if err := m.Barrier(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(m.bytes(t), want) {
		t.Error("the state after the restart differs")
	}
}

func TestThreeNodesOnDiskLoseTheLeader(t *testing.T) {
	nodes := diskCluster(t, 3)
	gone := write(t, nodes, "a")
	if err := gone.end(); err != nil {
		t.Fatal(err)
	}
	left := slices.DeleteFunc(nodes, func(m *member) bool { return m == gone })
	write(t, left, "b")
	l := listenTCP(t)
	back := gone.cfg
	back.Store, back.Stream = nil, l
	back.AddrOf = func(id string) (string, bool) { return "", false }
	m := startNode(t, back)
	waitFor(t, "the others to forget", func() bool { return !m.IsLeader() })
	addVoter(t, left, gone.id, l.Addr().String()) // where it is now
	waitFor(t, "the restarted node to catch up", func() bool { return m.CaughtUp() && m.store.View().Job("b") != nil })
	waitFor(t, "its state to be that of the others", func() bool { return bytes.Equal(m.bytes(t), left[0].bytes(t)) })
}

func TestRecoverLostQuorum(t *testing.T) {
	nodes := diskCluster(t, 3)
	write(t, nodes, "a")
	waitFor(t, "the follower to have it", func() bool { return nodes[1].store.View().Job("a") != nil })
	survivor := nodes[1]
	if _, err := Recover(survivor.cfg, "127.0.0.1:1", begins); api.ErrorCode(err) != api.CodeConflict {
		t.Errorf("while it runs: %v", err)
	}
	for _, m := range []*member{nodes[2], nodes[0], survivor} {
		if err := m.end(); err != nil {
			t.Fatal(err)
		}
	}
	l := listenTCP(t)
	r, err := Recover(survivor.cfg, l.Addr().String(), begins)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(r.Backup) })
	if r.LastIndex == 0 {
		t.Error("nothing was kept")
	}
	if _, err := os.Stat(filepath.Join(r.Backup, "raft.db")); err != nil {
		t.Error(err)
	}
	cfg := survivor.cfg
	cfg.Store, cfg.Stream = nil, l
	m := startNode(t, cfg)
	waitFor(t, "it to lead alone", m.IsLeader)
	m.must(t, createJob("b"))
	if m.store.View().Job("a") == nil {
		t.Error("the job from before is lost")
	}
	if v := m.Voters(); len(v) != 1 || v[0] != "n1" {
		t.Errorf("voters: %v", v)
	}
}

func TestRecoverNeedsSomething(t *testing.T) {
	dir := t.TempDir()
	if _, err := Recover(Config{NodeID: "n0", Dir: dir}, "a", begins); api.ErrorCode(err) != api.CodeNotFound {
		t.Errorf("an empty folder: %v", err)
	}
	m := startNode(t, Config{NodeID: "n0", Dir: dir, Stream: listenTCP(t)})
	if err := m.end(); err != nil {
		t.Fatal(err)
	}
	if _, err := Recover(Config{NodeID: "n0", Dir: dir}, "a", begins); api.ErrorCode(err) != api.CodeNotFound {
		t.Errorf("a node that never voted: %v", err)
	}
	if found, _ := filepath.Glob(dir + ".bak-*"); len(found) > 0 {
		t.Errorf("left behind: %v", found)
	}
}

func TestUnknownCommandHaltsTheNode(t *testing.T) {
	for name, entry := range map[string][]byte{"kind": {1, 200, 1, 0}, "version": {99}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			m := single(t, dir, nil)
			m.must(t, initCluster())
			m.raft.Apply(entry, time.Second)
			err := <-m.done
			m.done <- nil
			if err == nil || !strings.Contains(err.Error(), "upgrade mesita") {
				t.Errorf("run ended with %v", err)
			}
			if _, err := m.Propose(t.Context(), cmds("x", 1)); err == nil {
				t.Error("it takes commands after that")
			}
			if m.store.View().Index() == 0 {
				t.Error("what came before is lost")
			}
			if _, err := Recover(m.cfg, "127.0.0.1:1", begins); err == nil {
				t.Error("recover left the entry out")
			}
			found, _ := filepath.Glob(dir + ".bak-*")
			for _, f := range found {
				os.RemoveAll(f)
			}
		})
	}
}

func TestFolderOfAnotherNode(t *testing.T) {
	dir := t.TempDir()
	if err := startNode(t, Config{NodeID: "n0", Dir: dir, Stream: listenTCP(t)}).end(); err != nil {
		t.Fatal(err)
	}
	open := func(id string) error {
		l := listenTCP(t)
		m, err := tryStart(Config{NodeID: id, Dir: dir, Stream: l})
		if err == nil {
			return m.end()
		}
		return errors.Join(err, l.Close())
	}
	if err := open("n1"); api.ErrorCode(err) != api.CodeConflict || !strings.Contains(err.Error(), "is of node n0") {
		t.Errorf("another node: %v", err)
	}
	if err := open("n0"); err != nil {
		t.Errorf("the same node: %v", err)
	}
	path := filepath.Join(dir, "identity")
	for content, code := range map[string]api.Code{`{"nodeID":"n0","format":9}`: api.CodeConflict, `{"nod`: api.CodeFailed} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := open("n0"); api.ErrorCode(err) != code {
			t.Errorf("%s: %v", content, err)
		}
	}
}

func TestDamagedFilesAreNamed(t *testing.T) {
	dir := t.TempDir()
	m := single(t, dir, func(c *Config) { c.snapshotEntries = 5 })
	m.must(t, initCluster())
	for i := range 30 {
		m.must(t, createJob(fmt.Sprint("j", i)))
	}
	waitFor(t, "a snapshot", func() bool {
		found, _ := filepath.Glob(filepath.Join(dir, "snapshots", "*", "state.bin"))
		return len(found) > 0
	})
	if err := m.end(); err != nil {
		t.Fatal(err)
	}
	damage := func(path string, at int64) error {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt(bytes.Repeat([]byte{0xa5}, 4096), at)
		return errors.Join(err, f.Close())
	}
	reopen := func() error {
		l := listenTCP(t)
		m, err := tryStart(Config{NodeID: "n0", Dir: dir, Stream: l})
		if err == nil {
			_ = m.end()
		}
		return err
	}
	snaps, _ := filepath.Glob(filepath.Join(dir, "snapshots", "*", "state.bin"))
	for _, s := range snaps {
		if err := damage(s, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := reopen(); err == nil || !strings.Contains(err.Error(), "snapshot") {
		t.Errorf("damaged snapshots: %v", err)
	}
	for _, s := range snaps {
		if err := os.RemoveAll(filepath.Dir(s)); err != nil {
			t.Fatal(err)
		}
	}
	for at := range int64(2) { // bbolt's two first pages
		if err := damage(filepath.Join(dir, "raft.db"), at*int64(os.Getpagesize())); err != nil {
			t.Fatal(err)
		}
	}
	if err := reopen(); api.ErrorCode(err) != api.CodeFailed || !strings.Contains(err.Error(), "raft.db") {
		t.Errorf("a damaged log: %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	_, tr := raft.NewInmemTransport("a")
	store := fsm.NewStore(nil)
	for name, c := range map[string]Config{
		"no id":           {Dir: "d", Store: store, Transport: tr},
		"no store":        {NodeID: "n", Dir: "d", Transport: tr},
		"no way":          {NodeID: "n", Dir: "d", Store: store},
		"two ways":        {NodeID: "n", Dir: "d", Store: store, Transport: tr, Stream: tcp{}},
		"some stores":     {NodeID: "n", Dir: "d", Store: store, Transport: tr, LogStore: raft.NewInmemStore()},
		"no dir":          {NodeID: "n", Store: store, Transport: tr},
		"huge multiplier": {NodeID: "n", Dir: "d", Store: store, Transport: tr, Multiplier: 1e6},
	} {
		if _, err := Open(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestEndDoesNotWaitForAnUnansweredConnection(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, answers nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	best := time.Hour
	for range 5 { // the machine may be busy
		m := single(t, t.TempDir(), nil)
		m.must(t, initCluster())
		if err := m.AddNonvoter(t.Context(), "n9", silent.Addr().String()); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := m.end(); err != nil {
			t.Fatal(err)
		}
		if best = min(best, time.Since(began)); best < rpcTimeout/2 {
			return
		}
	}
	t.Errorf("it took %v", best)
}

func begins() error { return nil }
