package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/mesita/mesita/cluster/datadir"

	"github.com/mesita/mesita/api/server"
	"github.com/mesita/mesita/cluster/consensus/disk"
)

// Who may vote no more must not keep the log and the snapshots, which have the CA's
// key. That key is changed by then; this is so that none lies about.

// errDemoted ends a life of the node that may vote no more.
var errDemoted = errors.New("this node may not vote any more")

// demotionLook is how often a node that may not vote asks whether it still takes
// part in Raft: that ends by itself, and nobody tells. Its own log may lack the end, and
// one that votes may hear of no leader, or not write, for long.
const demotionLook = 5 * time.Second

// awaitDemotion returns errDemoted once a voter says that this node, which has taken
// part in Raft, may not any more.
func (a *Agent) awaitDemotion(ctx context.Context) error {
	for {
		heard := a.lost.wait()
		var look <-chan time.Time
		if n := a.ownNode.Load(); n != nil && n.WorkerOnly && len(a.raft.Voters()) > 0 {
			if !a.votes() && a.fed.Load() && a.outOfRaft(ctx) {
				a.log.Warn("this node may not vote any more: its copy of the cluster's state is erased")
				if err := a.changeSelf(func(n *datadir.Node) { n.Demoted = true }); err != nil {
					return err
				}
				return errDemoted
			}
			look = time.After(demotionLook)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-heard:
		case <-look:
		}
	}
}

// outOfRaft reports whether the leader says that this node takes no part in Raft any
// more. Without its answer it may.
func (a *Agent) outOfRaft(ctx context.Context) bool {
	leader := a.leaderID()
	if leader == "" || leader == a.self.NodeID {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, askMember)
	defer cancel()
	var is server.Member
	err := a.peers.call(ctx, leader, http.MethodGet, "/v1/internal/member?"+url.Values{"id": {a.self.NodeID}}.Encode(), nil, &is)
	return err == nil && is.Out
}

// eraseDemoted erases the raft folder of a node that was demoted. What it had
// acknowledged is in node.json: made a voter again, it votes once it has that.
func (a *Agent) eraseDemoted() error {
	if !a.self.Demoted {
		return nil
	}
	folders, err := filepath.Glob(a.dir.File("raft.*")) // what was put aside
	for _, folder := range append(folders, a.dir.File("raft")) {
		err = errors.Join(err, os.RemoveAll(folder))
	}
	if err := errors.Join(err, disk.SyncDir(a.dir.Path)); err != nil {
		return fmt.Errorf("erase the raft log of a node that may not vote: %w", err)
	}
	return a.changeSelf(func(n *datadir.Node) { n.Demoted = false })
}
