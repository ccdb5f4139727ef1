package cluster

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/mesita/mesita/cluster/datadir"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/cluster/consensus/disk"
	"github.com/mesita/mesita/cluster/tlsconf"
	"github.com/mesita/mesita/fsm"
)

// ranFiles are there once a node ran in the folder, which it does only with
// node.json: what a first start makes before that is not among them.
var ranFiles = []string{"raft", "executor", "keeper", "events", "admin.token", recoveredFile, removedFile}

// key loads this node's key, and makes one for a first start. A folder that has
// lost its node.json, or its key, is not a new one: a new cluster, or a new
// identity, would be made over the old.
func (a *Agent) key(self *datadir.Node) (*tlsconf.NodeKey, error) {
	if self != nil {
		key, err := a.files.LoadKey()
		if errors.Is(err, os.ErrNotExist) {
			return nil, api.Errorf(api.CodeConflict, "the data folder %s is of node %s, and its key node.key is gone: restore it from a backup, or move the folder away and join again with a token", a.dir.Path, self.Name)
		}
		return key, err
	}
	left, err := a.dir.Have(ranFiles...)
	if err != nil {
		return nil, err
	}
	if len(left) == 0 && a.pending == nil && len(a.cfg.JoinAddrs) == 0 { // a join that was cut short leaves certificates
		if left, err = a.dir.Have("node.crt", "ca.crt"); err != nil {
			return nil, err
		}
	}
	if len(left) > 0 {
		return nil, api.Errorf(api.CodeConflict, "the data folder %s has no node.json, but what a node left there (%s): restore node.json from a backup, or move the folder away; a join that was cut short is made again with `mesita node join`", a.dir.Path, strings.Join(left, ", "))
	}
	key, _, err := a.files.LoadOrMakeKey()
	return key, err
}

// newCluster makes the authority, the gossip key and this node's first
// certificate.
func (a *Agent) newCluster(key *tlsconf.NodeKey) error {
	now := a.cfg.Now()
	name := a.cfg.ClusterName
	if name == "" {
		name = randomWord()
	}
	c := &api.Cluster{ID: randomHex(8), Name: name, Created: now}
	ca, err := tlsconf.NewCA(c.Name, c.ID, now)
	if err != nil {
		return fmt.Errorf("make the cluster's CA: %w", err)
	}
	p := &datadir.Pending{Cluster: c, Authority: &api.Authority{CACert: ca.CertPEM(), CAKey: ca.KeyPEM(), GossipKey: randomBytes(32), Pin: ca.Pin()}}
	if err := a.dir.SavePending(p); err != nil {
		return err
	}
	return a.adoptCluster(key, p)
}

// adoptCluster signs this node's own certificate and writes its identity.
func (a *Agent) adoptCluster(key *tlsconf.NodeKey, p *datadir.Pending) error {
	ca, err := tlsconf.LoadCA(p.Authority.CACert, p.Authority.CAKey)
	if err != nil {
		return err
	}
	csr, err := key.CSR()
	if err != nil {
		return err
	}
	cert, err := ca.Sign(csr, tlsconf.NodeIdentity{ID: key.ID(), Name: a.cfg.Name, ClusterID: p.Cluster.ID, Voter: true, Hosts: a.ownHosts()}, a.cfg.Wall(), tlsconf.DefaultLife)
	if err != nil {
		return err
	}
	if err := errors.Join(a.files.SaveCA(p.Authority.CACert), a.files.SaveCert(cert)); err != nil {
		return err
	}
	return a.firstSave(&datadir.Node{NodeID: key.ID(), Name: a.cfg.Name, ClusterID: p.Cluster.ID, Cluster: p.Cluster.Name,
		VoterOnly: a.cfg.VoterOnly, GossipKey: p.Authority.GossipKey, Addr: a.addr})
}

// clusterInit is the first command of a cluster.
func (a *Agent) clusterInit(p *datadir.Pending) *fsm.ClusterInit {
	now := a.cfg.Now()
	return &fsm.ClusterInit{Level: fsm.Newest, Meta: fsm.Meta{At: now, Actor: "node:" + a.self.Name}, Cluster: p.Cluster, Authority: p.Authority,
		Node: &api.Node{ID: a.self.NodeID, Name: a.self.Name, State: api.NodeDown, Reason: "has not reported yet",
			Addr: a.addr, VoterOnly: a.self.VoterOnly, Version: a.cfg.Version, Joined: now, Since: now}}
}

// firstToken makes the first admin's token of a new cluster, which is kept in the
// data folder, for root alone.
func (a *Agent) firstToken() (fsm.Command, error) {
	now := a.cfg.Now()
	tok, secret := auth.NewToken(&api.TokenRequest{Kind: api.TokenClient, Name: "admin", Role: api.RoleAdmin}, now)
	if err := disk.WriteFile(a.dir.File("admin.token"), []byte(api.ClientToken{ID: tok.ID, Secret: secret, Pin: a.pending.Authority.Pin}.String()+"\n"), 0o600); err != nil {
		return nil, err
	}
	return &fsm.TokenCreate{Meta: fsm.Meta{At: now, Actor: "node:" + a.self.Name}, Token: tok}, nil
}

var clusterWords = []string{"acacia", "alder", "almond", "ash", "aspen", "beech", "birch", "cedar", "cherry", "cypress", "elder", "elm", "fig", "fir",
	"hazel", "holly", "juniper", "larch", "laurel", "lime", "maple", "oak", "olive", "palm", "pear", "pine", "plum", "poplar", "rowan", "spruce", "walnut", "willow", "yew"}

func randomWord() string { return clusterWords[int(randomBytes(1)[0])%len(clusterWords)] }

func randomHex(n int) string { return hex.EncodeToString(randomBytes(n)) }

// randomBytes never fails: crypto/rand crashes the program rather than return
// weak bytes.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}
