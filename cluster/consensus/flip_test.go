package consensus

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/mesita/mesita/cluster/consensus/disk"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/integration/draw"
)

// flips is how many single bits are turned; MESITA_FLIPS asks for more.
func flips(t *testing.T) int {
	n, err := strconv.Atoi(os.Getenv("MESITA_FLIPS"))
	if err != nil {
		return 200
	}
	return n
}

// voterFolders are the raft folders of a voter that was stopped, and of one that
// was killed, with two snapshots, a log that reaches back beyond them, and a
// vote.
func voterFolders(t *testing.T) (stopped, killed string) {
	dir := t.TempDir()
	m := single(t, dir, func(c *Config) { c.snapshotEntries = 40 })
	m.must(t, initCluster())
	for i := range 130 {
		m.must(t, createJob(fmt.Sprint("j", i)))
	}
	waitFor(t, "two snapshots", func() bool {
		found, _ := filepath.Glob(filepath.Join(dir, "snapshots", "*", "meta.crc32c"))
		return len(found) >= snapshotsKept
	})
	killed = filepath.Join(t.TempDir(), "raft")
	if err := errors.Join(copyDir(dir, killed), m.end()); err != nil {
		t.Fatal(err)
	}
	return dir, killed
}

// stateOf is what a voter would serve from a folder, and how it would vote.
func stateOf(dir string) (state []byte, err error) {
	cfg := &Config{NodeID: "n0", Dir: dir, Log: quiet()}
	s, err := openStores(cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	store := fsm.NewStore(nil)
	listed, err := s.snaps.List()
	if err != nil {
		return nil, err
	}
	var from uint64
	for _, m := range listed {
		_, r, err := s.snaps.Open(m.ID)
		if err != nil {
			continue
		}
		if store.Restore(r) == nil {
			from = m.Index
			break
		}
	}
	if from == 0 && len(listed) > 0 {
		return nil, errors.New("no snapshot could be restored")
	}
	last, err := s.logs.LastIndex()
	if err != nil {
		return nil, err
	}
	for i := from + 1; i <= last; i++ {
		var e raft.Log
		if err := s.logs.GetLog(i, &e); err != nil {
			return nil, err
		}
		if e.Type == raft.LogCommand {
			if _, err := store.Apply([]fsm.Entry{{Index: e.Index, Data: e.Data}}); err != nil {
				return nil, err
			}
		}
	}
	var out bytes.Buffer
	if err := store.Snapshot().Write(&out); err != nil {
		return nil, err
	}
	for _, key := range []string{"CurrentTerm", "LastVoteTerm", "LastVoteCand"} {
		v, err := s.stable.Get([]byte(key))
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&out, "%s=%x\n", key, v)
	}
	fmt.Fprintf(&out, "last=%d\n", max(last, from))
	return out.Bytes(), nil
}

// A flipped bit anywhere in a stopped voter's folder is refused, changes
// nothing, or is made up for by what else is there; never does a voter start
// with another state, another vote or a shorter log.
func TestFlippedBitsAreNeverServed(t *testing.T) {
	stopped, killed := voterFolders(t)
	t.Run("stopped", func(t *testing.T) { flipBits(t, stopped) })
	t.Run("killed", func(t *testing.T) { flipBits(t, killed) })
}

func flipBits(t *testing.T, src string) {
	want, err := stateOf(src)
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	err = filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	seed := draw.Seed(t)
	random := rand.New(rand.NewPCG(seed, 1))
	refused := map[string]int{}
	same := 0
	for i := range flips(t) / 2 {
		path := files[random.IntN(len(files))]
		if i%2 == 0 {
			path = filepath.Join(src, disk.LogName)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bit := random.IntN(len(b) * 8)
		dir := filepath.Join(t.TempDir(), "raft")
		if err := copyDir(src, dir); err != nil {
			t.Fatal(err)
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			t.Fatal(err)
		}
		b[bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(filepath.Join(dir, rel), b, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := stateOf(dir)
		switch {
		case err != nil:
			refused[filepath.Base(path)]++
		case bytes.Equal(got, want):
			same++
		default:
			t.Errorf("seed %d: with bit %d of %s flipped, a voter starts with another state", seed, bit, rel)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d: the same state %d times, refused %v", seed, same, refused)
	if refused[disk.LogName] == 0 {
		t.Error("no damage of the log was refused")
	}
}
