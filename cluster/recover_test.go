package cluster

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mesita/mesita/cluster/datadir"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/ages"
	"github.com/mesita/mesita/cluster/tlsconf"
)

// What cannot be recovered is refused in words, by the real thing and by the
// trial of it, and the folder is let go of again.
func TestRecoverRefuses(t *testing.T) {
	for _, c := range []struct {
		name, cluster, says string
		code                api.Code
		node                bool
	}{
		{"no node", "pine", "there is no node in", api.CodeNotFound, false},
		{"another cluster", "oak", `is in the cluster "pine", not "oak"`, api.CodeConflict, true},
		{"never voted", "pine", "this node never voted", api.CodeNotFound, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := Config{DataDir: t.TempDir()}
			if c.node {
				d, err := datadir.Open(cfg.DataDir)
				if err != nil {
					t.Fatal(err)
				}
				if err := d.Save(&datadir.Node{NodeID: "a1", Name: "fir", ClusterID: "c1", Cluster: "pine"}); err != nil {
					t.Fatal(err)
				}
				d.Close()
			}
			trial := MayRecover(t.Context(), cfg, c.cluster, false)
			_, real := Recover(t.Context(), cfg, c.cluster, false)
			for _, err := range []error{trial, real} {
				if api.ErrorCode(err) != c.code || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%v, want %s: %s", err, c.code, c.says)
				}
			}
			d, err := datadir.Open(cfg.DataDir)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if self, err := d.Load(); err != nil || self != nil && len(self.Ages) > 0 {
				t.Errorf("an age began all the same: %+v, %v", self, err)
			}
			held := MayRecover(t.Context(), cfg, c.cluster, false)
			if api.ErrorCode(held) != api.CodeConflict || !strings.Contains(held.Error(), "runs here already") {
				t.Errorf("of a folder in use: %v", held)
			}
		})
	}
	none := filepath.Join(t.TempDir(), "none")
	if err := MayRecover(t.Context(), Config{DataDir: none}, "pine", false); api.ErrorCode(err) != api.CodeNotFound {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(none); !os.IsNotExist(err) {
		t.Errorf("the folder was made: %v", err)
	}
}

// A voter that answers, and whoever knows of a leader, may be part of a
// majority; a worker without one is not, nor is who a recovery left behind.
func TestWhoSpeaksAgainstARecovery(t *testing.T) {
	for _, c := range []struct {
		own, its     ages.Line
		role, leader string
		speaks       bool
	}{
		{first, first, "voter, leader", "elm", true}, {first, first, "voter", "", true}, {first, first, "", "", true},
		{first, first, "worker", "fir", true}, {first, first, "worker", "", false},
		{first, recovered, "voter", "fir", true}, {apart, recovered, "voter", "fir", true}, {recovered, first, "voter", "fir", false},
	} {
		a := &Agent{line: c.own}
		got := a.againstRecovery([]told{{"10.0.0.1:5050", c.its, api.Health{Node: "elm", Role: c.role, Leader: c.leader}}})
		if len(got) > 0 != c.speaks {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// The others are asked where they were last, and who answers is named; a worker
// is asked again, as it knows for a moment of a leader that is gone. Whoever
// forces it is not kept from it.
func TestRecoverAsksTheOthers(t *testing.T) {
	ca, err := tlsconf.NewCA("pine", "c1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	oak, _ := holderOf(t, ca, "oak")
	for _, c := range []struct {
		name    string
		answers []api.Health // the last one for ever
		says    string
	}{
		{"alive", []api.Health{{Node: "oak", Role: "worker", Leader: "elm", Quorum: true}}, "oak at ADDR (worker, led by elm)"},
		{"gone since", []api.Health{{Node: "oak", Role: "worker", Leader: "elm", Quorum: true}, {Node: "oak", Role: "worker"}}, ""},
		{"itself", []api.Health{{Node: "fir", Role: "voter"}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			addr := serveAs(t, oak, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_ = json.NewEncoder(w).Encode(c.answers[min(int(asked.Add(1)), len(c.answers))-1])
			}))
			cfg := Config{DataDir: stoppedVoter(t, ca, addr)}
			err := MayRecover(t.Context(), cfg, "pine", false)
			says := strings.ReplaceAll(c.says, "ADDR", addr)
			if says == "" && err != nil || says != "" && (api.ErrorCode(err) != api.CodeConflict || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "--force")) {
				t.Errorf("%v", err)
			}
			if _, real := Recover(t.Context(), cfg, "pine", false); says != "" && (real == nil || real.Error() != err.Error()) {
				t.Errorf("the trial says %v, the real thing %v", err, real)
			}
			before := asked.Load()
			if err := MayRecover(t.Context(), cfg, "pine", true); err != nil || asked.Load() != before {
				t.Errorf("forced, with %d questions: %v", asked.Load()-before, err)
			}
		})
	}
}

// stoppedVoter is the data folder of a node that knew one other.
func stoppedVoter(t *testing.T, ca *tlsconf.CA, seed string) string {
	t.Helper()
	d, err := datadir.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	files, key, cert := signedNode(t, ca, d.Path, "fir")
	err = errors.Join(files.SaveCA(ca.CertPEM()), files.SaveCert(cert), os.Mkdir(d.File("raft"), 0o700), os.WriteFile(d.File("raft", "raft.db"), nil, 0o600),
		d.Save(&datadir.Node{NodeID: key.ID(), Name: "fir", ClusterID: "c1", Cluster: "pine", Seeds: []string{seed}}))
	if err != nil {
		t.Fatal(err)
	}
	return d.Path
}
