package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mesita/mesita/cluster/datadir"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/cluster/ages"
	"github.com/mesita/mesita/cluster/consensus"
	"github.com/mesita/mesita/cluster/consensus/disk"
	"github.com/mesita/mesita/cluster/tlsconf"
	"github.com/mesita/mesita/fsm"
)

// Recover makes this node, which must be stopped, the only voter of its
// cluster after the majority was lost for good. It asks for the cluster's name,
// so that it does not happen to the wrong one, and refuses while others answer
// that may be that majority, unless it is forced. It returns the folder with the
// log as it was before.
func Recover(ctx context.Context, cfg Config, clusterName string, force bool) (backup string, err error) {
	dir, self, addr, err := openToRecover(&cfg, clusterName)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	if err := mayRecover(ctx, &cfg, dir, self, force); err != nil {
		return "", err
	}
	// The age changes before the log: a crash in between leaves a node that nobody
	// talks to, to be recovered again; the other way round it would be a node with
	// a log of its own in the age of the others.
	begin := func() error {
		self.Ages = self.Ages.Begin(self.Name, cfg.Now())
		return dir.Save(self)
	}
	r, err := consensus.Recover(consensus.Config{NodeID: self.NodeID, Dir: dir.File("raft"), Log: cfg.Log}, addr, begin)
	if err != nil {
		return "", err
	}
	self.Raft = nil // what was lost is given up
	if err := dir.Save(self); err != nil {
		return r.Backup, err
	}
	// The event follows once the node leads: there is no cluster to tell yet.
	if err := disk.WriteFile(dir.File(recoveredFile), []byte(r.Backup), 0o600); err != nil {
		return r.Backup, err
	}
	return r.Backup, nil
}

// MayRecover tells why Recover would refuse, and changes nothing.
func MayRecover(ctx context.Context, cfg Config, clusterName string, force bool) error {
	dir, self, _, err := openToRecover(&cfg, clusterName)
	if err != nil {
		return err
	}
	defer dir.Close()
	return mayRecover(ctx, &cfg, dir, self, force)
}

func mayRecover(ctx context.Context, cfg *Config, dir *datadir.Dir, self *datadir.Node, force bool) error {
	if err := consensus.MayRecover(dir.File("raft")); err != nil || force {
		return err
	}
	certs, err := ownCertificates(dir, cfg.Wall)
	if err != nil {
		return fmt.Errorf("ask the other nodes whether they are alive (not done with --force): %w", err)
	}
	a := &Agent{cfg: *cfg, log: cfg.Log, dir: dir, self: self, line: self.Ages, certs: certs}
	for look := 1; ; look++ {
		against := a.againstRecovery(a.ask(ctx, withPorts(slices.Concat(self.Seeds, cfg.Seeds))))
		if len(against) == 0 {
			return nil
		}
		if look == recoverLooks {
			return api.Errorf(api.CodeConflict, "other nodes of %s answer: %s. A recovery would make a second cluster of that name beside theirs, and both would run its services. "+
				"Start this node instead with `mesita node start` (after a recovery of another with --rejoin); if these are too few for ever, or are to be given up, use --force", self.Cluster, strings.Join(against, ", "))
		}
		if !backoff.Pause(ctx, recoverLook) {
			return context.Cause(ctx)
		}
	}
}

const (
	// recoverLooks is how often the others are asked before what they say counts: a
	// worker knows for a moment of a leader that is gone.
	recoverLooks = 3
	recoverLook  = 1500 * time.Millisecond
)

// ownCertificates is what this node shows to others, also while it is stopped.
func ownCertificates(dir *datadir.Dir, now func() time.Time) (*tlsconf.Holder, error) {
	files := tlsconf.Files{Dir: dir.Path}
	key, err := files.LoadKey()
	if err != nil {
		return nil, err
	}
	cert, err := files.LoadCert()
	if err != nil {
		return nil, err
	}
	ca, err := files.LoadCA()
	if err != nil {
		return nil, err
	}
	return tlsconf.NewHolder(key, cert, ca, now)
}

// againstRecovery names the nodes that may be part of a majority: voters, and
// whoever knows of a leader. Those that a recovery left behind do not count.
func (a *Agent) againstRecovery(answers []told) []string {
	var out []string
	for _, t := range answers {
		if !t.mayVote() && t.Leader == "" || a.line.To(t.line) == ages.Earlier {
			continue
		}
		leader := "no leader"
		if t.Leader != "" {
			leader = "led by " + t.Leader
		}
		out = append(out, fmt.Sprintf("%s at %s (%s, %s)", t.Node, t.addr, cmp.Or(t.Role, "voter"), leader))
	}
	slices.Sort(out)
	return out
}

// openToRecover opens the data folder of a stopped node of that cluster, and
// fills the defaults in.
func openToRecover(cfg *Config, clusterName string) (dir *datadir.Dir, self *datadir.Node, addr string, err error) {
	if *cfg, err = cfg.withDefaults(); err != nil {
		return nil, nil, "", err
	}
	if _, err := os.Stat(cfg.DataDir); errors.Is(err, os.ErrNotExist) {
		return nil, nil, "", noNode(cfg.DataDir)
	}
	opened, err := datadir.Open(cfg.DataDir)
	if err != nil {
		return nil, nil, "", err
	}
	defer func() {
		if err != nil {
			_ = opened.Close() // what was wrong before counts
		}
	}()
	if self, err = opened.Load(); err != nil {
		return nil, nil, "", err
	}
	if self == nil {
		return nil, nil, "", noNode(cfg.DataDir)
	}
	if self.Cluster != clusterName {
		return nil, nil, "", api.Errorf(api.CodeConflict, "the node in %s is in the cluster %q, not %q: recover the one you mean", cfg.DataDir, self.Cluster, clusterName)
	}
	if self.Refill {
		return nil, nil, "", api.Errorf(api.CodeConflict, "the node in %s was to continue with another age of its cluster, and its log is of the one before: start it once first", cfg.DataDir)
	}
	listen, err := cfg.listenAddr()
	if err != nil {
		return nil, nil, "", err
	}
	addr, _ = cfg.advertise(context.Background(), &net.TCPAddr{IP: listen.IP, Port: listen.Port}, self.Seeds)
	if listen.Port == 0 {
		addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(api.DefaultPort)) // only a hint: nodes are found by their ids
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
	backup, err := os.ReadFile(a.dir.File(recoveredFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read whether the cluster was recovered: %w", err)
	}
	_, err = a.store.Do(ctx, &fsm.ClusterRecovered{Meta: fsm.Meta{At: a.cfg.Now(), Actor: "node:" + a.self.Name}, NodeID: a.self.NodeID,
		Cause: fmt.Sprintf("the majority was lost: %s continued as the only voter; the log as it was is in %s", a.self.Name, backup)})
	if err != nil {
		return fmt.Errorf("tell that the cluster was recovered: %w", err)
	}
	return os.Remove(a.dir.File(recoveredFile))
}
