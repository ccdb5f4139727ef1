package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/consensus"
	"github.com/mesita/mesita/cluster/consensus/disk"
	"github.com/mesita/mesita/fsm"
)

// Recover makes this node, which must be stopped, the only voter of its
// cluster after the majority was lost for good. It asks for the cluster's name,
// so that it does not happen to the wrong one, and returns the folder with the
// log as it was before.
func Recover(_ context.Context, cfg Config, clusterName string) (backup string, err error) {
	dir, self, addr, err := openToRecover(&cfg, clusterName)
	if err != nil {
		return "", err
	}
	defer dir.close()
	// The age changes before the log: a crash in between leaves a node that nobody
	// talks to, to be recovered again; the other way round it would be a node with
	// a log of its own in the age of the others.
	begin := func() error {
		self.Ages = self.Ages.Begin(self.Name, cfg.Now())
		return dir.save(self)
	}
	r, err := consensus.Recover(consensus.Config{NodeID: self.NodeID, Dir: dir.file("raft"), Log: cfg.Log}, addr, begin)
	if err != nil {
		return "", err
	}
	self.Raft = nil // what was lost is given up
	if err := dir.save(self); err != nil {
		return r.Backup, err
	}
	// The event follows once the node leads: there is no cluster to tell yet.
	if err := disk.WriteFile(dir.file(recoveredFile), []byte(r.Backup), 0o600); err != nil {
		return r.Backup, err
	}
	return r.Backup, nil
}

// MayRecover tells why Recover would refuse, and changes nothing.
func MayRecover(cfg Config, clusterName string) error {
	dir, _, _, err := openToRecover(&cfg, clusterName)
	if err != nil {
		return err
	}
	defer dir.close()
	return consensus.MayRecover(dir.file("raft"))
}

// openToRecover opens the data folder of a stopped node of that cluster, and
// fills the defaults in.
func openToRecover(cfg *Config, clusterName string) (dir *dataDir, self *nodeFile, addr string, err error) {
	if *cfg, err = cfg.withDefaults(); err != nil {
		return nil, nil, "", err
	}
	if _, err := os.Stat(cfg.DataDir); errors.Is(err, os.ErrNotExist) {
		return nil, nil, "", noNode(cfg.DataDir)
	}
	opened, err := openDataDir(cfg.DataDir)
	if err != nil {
		return nil, nil, "", err
	}
	defer func() {
		if err != nil {
			_ = opened.close() // what was wrong before counts
		}
	}()
	if self, err = opened.load(); err != nil {
		return nil, nil, "", err
	}
	if self == nil {
		return nil, nil, "", noNode(cfg.DataDir)
	}
	if self.Cluster != clusterName {
		return nil, nil, "", api.Errorf(api.CodeConflict, "the node in %s is in the cluster %q, not %q: recover the one you mean", cfg.DataDir, self.Cluster, clusterName)
	}
	if self.Refill {
		return nil, nil, "", api.Errorf(api.CodeConflict, "the node in %s was to go on with another age of its cluster, and its log is of the one before: start it once first", cfg.DataDir)
	}
	listen, err := cfg.listenAddr()
	if err != nil {
		return nil, nil, "", err
	}
	if addr, err = cfg.advertise(&net.TCPAddr{IP: listen.IP, Port: listen.Port}); err != nil {
		return nil, nil, "", err
	}
	if listen.Port == 0 {
		addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(DefaultPort)) // only a hint: nodes are found by their ids
	}
	return opened, self, addr, nil
}

func noNode(dir string) error {
	return api.Errorf(api.CodeNotFound, "there is no node in %s: name its data folder with --data", dir)
}

// recoveredFile is there from a recovery to the event about it, and holds the
// folder with the log as it was.
const recoveredFile = "recovered"

// tellRecovered makes the event about a recovery.
func (a *Agent) tellRecovered(ctx context.Context) error {
	backup, err := os.ReadFile(a.dir.file(recoveredFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read whether the cluster was recovered: %w", err)
	}
	_, err = a.store.Do(ctx, &fsm.ClusterRecovered{Meta: fsm.Meta{At: a.cfg.Now(), Actor: "node:" + a.self.Name}, NodeID: a.self.NodeID,
		Cause: fmt.Sprintf("the majority was lost: %s went on as the only voter; the log as it was is in %s", a.self.Name, backup)})
	if err != nil {
		return fmt.Errorf("tell that the cluster was recovered: %w", err)
	}
	return os.Remove(a.dir.file(recoveredFile))
}
