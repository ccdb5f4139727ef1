package integration

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// A voter's raft.db is lost while all nodes are off, and the other voter that
// starts never had what was acknowledged: they decide nothing, say why, and all
// is there once the third is back.
func TestLostRaftLog(t *testing.T) {
	l := newLab(t, 3)
	l.Form()
	a := l.Leader()
	b := l.Other(a)
	c := l.Other(a, b)
	c.PowerOff()
	var ids []string
	for range 10 {
		ids = append(ids, a.Submit(map[string]any{"kind": "batch", "command": []string{"/bin/true"}}).ID)
	}
	b.PowerOff()
	a.PowerOff()
	if err := os.Remove(filepath.Join(b.Dir, "raft", "raft.db")); err != nil {
		t.Fatal(err)
	}
	b.Launch("start")
	c.Launch("start")
	l.Await(20*time.Second, "the damaged voter to say so", func() bool {
		var h api.Health
		err := b.Call(http.MethodGet, "/v1/health", nil, &h)
		return err != nil && strings.Contains(err.Error(), "raft.db is gone")
	})
	a.Launch("start")
	for _, n := range l.Nodes {
		n.AwaitReady()
	}
	for _, n := range l.Nodes {
		for _, id := range ids {
			n.Must(http.MethodGet, "/v1/jobs/"+id, nil, nil)
		}
	}
}
