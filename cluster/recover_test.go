package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
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
				d, err := openDataDir(cfg.DataDir)
				if err != nil {
					t.Fatal(err)
				}
				if err := d.save(&nodeFile{NodeID: "a1", Name: "fir", ClusterID: "c1", Cluster: "pine"}); err != nil {
					t.Fatal(err)
				}
				d.close()
			}
			trial := MayRecover(cfg, c.cluster)
			_, real := Recover(t.Context(), cfg, c.cluster)
			for _, err := range []error{trial, real} {
				if api.ErrorCode(err) != c.code || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%v, want %s: %s", err, c.code, c.says)
				}
			}
			d, err := openDataDir(cfg.DataDir)
			if err != nil {
				t.Fatal(err)
			}
			defer d.close()
			if self, err := d.load(); err != nil || self != nil && len(self.Ages) > 0 {
				t.Errorf("an age began all the same: %+v, %v", self, err)
			}
			held := MayRecover(cfg, c.cluster)
			if api.ErrorCode(held) != api.CodeConflict || !strings.Contains(held.Error(), "runs here already") {
				t.Errorf("of a folder in use: %v", held)
			}
		})
	}
	none := filepath.Join(t.TempDir(), "none")
	if err := MayRecover(Config{DataDir: none}, "pine"); api.ErrorCode(err) != api.CodeNotFound {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(none); !os.IsNotExist(err) {
		t.Errorf("the folder was made: %v", err)
	}
}
