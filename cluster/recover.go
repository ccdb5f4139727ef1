package cluster

import (
	"context"
	"net"
	"strconv"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/consensus"
)

// Recover makes this node, which must be stopped, the only voter of its
// cluster after the majority was lost for good. It asks for the cluster's name,
// so that it does not happen to the wrong one, and returns the folder with the
// log as it was before.
func Recover(_ context.Context, cfg Config, clusterName string) (backup string, err error) {
	cfg, err = cfg.withDefaults()
	if err != nil {
		return "", err
	}
	dir, err := openDataDir(cfg.DataDir)
	if err != nil {
		return "", err
	}
	defer dir.close()
	self, err := dir.load()
	if err != nil {
		return "", err
	}
	if self == nil {
		return "", api.Errorf(api.CodeNotFound, "there is no node in %s: name its data folder with --data", cfg.DataDir)
	}
	if self.Cluster != clusterName {
		return "", api.Errorf(api.CodeConflict, "the node in %s is in the cluster %q, not %q: recover the one you mean", cfg.DataDir, self.Cluster, clusterName)
	}
	listen, err := cfg.listenAddr()
	if err != nil {
		return "", err
	}
	addr, err := cfg.advertise(&net.TCPAddr{IP: listen.IP, Port: listen.Port})
	if err != nil {
		return "", err
	}
	if listen.Port == 0 {
		addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(DefaultPort)) // only a hint: nodes are found by their ids
	}
	r, err := consensus.Recover(consensus.Config{NodeID: self.NodeID, Dir: dir.file("raft"), Log: cfg.Log}, addr)
	if err != nil {
		return "", err
	}
	return r.Backup, nil
}
