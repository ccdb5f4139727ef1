package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/mesita/mesita/cluster/datadir"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/cluster/ages"
	"github.com/mesita/mesita/cluster/tlsconf"
	"github.com/mesita/mesita/fsm"
)

// joinTimeout bounds one try with one address.
const joinTimeout = 20 * time.Second

// join makes this node a member of the cluster that the token is of: it checks
// the CA pin before it sends anything, then asks for a certificate.
func (a *Agent) join(ctx context.Context, key *tlsconf.NodeKey) error {
	tok, err := api.ParseJoinToken(a.cfg.Token)
	if err != nil {
		return err
	}
	csr, err := key.CSR()
	if err != nil {
		return err
	}
	req := api.JoinRequest{Token: tok.ID + "." + tok.Secret, CSR: csr, Name: a.cfg.Name, Cluster: tok.Cluster, VoterOnly: a.cfg.VoterOnly}
	var last error
	for _, addr := range a.cfg.JoinAddrs {
		grant, err := joinAt(ctx, withPort(addr), tok.Pin, &req)
		if err == nil {
			return a.adoptGrant(grant)
		}
		last = err
		if api.ErrorCode(err) != api.CodeUnavailable {
			break // another node would say the same
		}
	}
	return last
}

// joinAt asks the node at an address. A token that was made before the key of the CA
// was changed leads to the new one, if the old one has signed it.
func joinAt(ctx context.Context, addr, pin string, req *api.JoinRequest) (*api.JoinGrant, error) {
	grant, err := requestJoin(ctx, addr, pin, req)
	var e *api.Error
	if !errors.As(err, &e) || e.Field != "token" || !strings.Contains(e.Message, tlsconf.ErrPinMismatch.Error()) {
		return grant, err
	}
	r, fetched := tlsconf.AskCA(ctx, addr)
	if fetched != nil {
		return nil, err
	}
	next, followed := tlsconf.FollowPin(r, pin)
	if followed != nil {
		return nil, err
	}
	return requestJoin(ctx, addr, next, req)
}

func requestJoin(ctx context.Context, addr, pin string, req *api.JoinRequest) (*api.JoinGrant, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	body, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	conf := tlsconf.PinnedConfig(pin)
	conf.NextProtos = []string{"http/1.1"}
	t := &http.Transport{DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&tls.Dialer{NetDialer: &net.Dialer{Timeout: dialTimeout}, Config: conf}).DialContext(ctx, "tcp", addr)
	}, DisableKeepAlives: true}
	hr, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+addr+"/v1/join", bytes.NewReader(body))
	if err != nil {
		return nil, api.FieldErrorf("address", "%q is not an address of a node: %v", addr, err)
	}
	hr.Header.Set("Content-Type", "application/json")
	hr.Header.Set(api.HeaderLevel, strconv.Itoa(int(fsm.Newest)))
	res, err := t.RoundTrip(hr)
	if errors.Is(err, tlsconf.ErrPinMismatch) {
		return nil, &api.Error{Code: api.CodeNotAllowed, Field: "token", Message: err.Error()}
	}
	if err != nil {
		return nil, api.Errorf(api.CodeUnavailable, "cannot reach a node at %s: %v; is mesita running there, and port %s open for TCP and UDP?", addr, errors.Unwrap(err), portOf(addr))
	}
	defer res.Body.Close()
	grant := new(api.JoinGrant)
	if err := api.ReadAnswer(res, grant); err != nil {
		return nil, err
	}
	if grant.Cluster == nil || len(grant.GossipKey) == 0 {
		return nil, api.Errorf(api.CodeInternal, "the node at %s sent an incomplete answer: is it of another version?", addr)
	}
	grant.Seeds = append([]string{addr}, grant.Seeds...)
	return grant, nil
}

func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

func (a *Agent) adoptGrant(g *api.JoinGrant) error {
	ca, step := g.CACert, uint64(0)
	if g.CA != nil {
		ca, step = g.CA.PEM(), g.CA.Step
	}
	if err := errors.Join(a.files.SaveCA(ca), a.files.SaveCert(g.Certificate)); err != nil {
		return err
	}
	line, err := ages.Parse(g.Ages)
	if err != nil {
		return fmt.Errorf("the answer to the join: %w", err)
	}
	self := &datadir.Node{Ages: line, NodeID: g.NodeID, Name: g.Name, ClusterID: g.Cluster.ID, Cluster: g.Cluster.Name, VoterOnly: a.cfg.VoterOnly,
		GossipKey: g.GossipKey, Seeds: g.Seeds, Level: g.Level, CAStep: step}
	if g.Ring != nil {
		self.TakeRing(g.Ring)
	}
	return a.firstSave(self)
}

// admit is the leader's side of join: the token is checked and used up in one
// command, and only then is anything signed.
func (a *Agent) admit(ctx context.Context, r api.JoinRequest) (*api.JoinGrant, error) {
	v := a.store.View()
	if v.Cluster() == nil || v.Authority() == nil {
		return nil, api.Errorf(api.CodeUnavailable, "the cluster is not ready yet: try again")
	}
	if r.Cluster != v.Cluster().Name {
		return nil, &api.Error{Code: api.CodeNotAllowed, Field: "token", Message: fmt.Sprintf("is of the cluster %s, and this is %s: get one with `mesita node token` here", r.Cluster, v.Cluster().Name)}
	}
	if err := api.ValidateName("name", r.Name); err != nil {
		return nil, err
	}
	csr, err := x509.ParseCertificateRequest(r.CSR)
	if err != nil || csr.CheckSignature() != nil {
		return nil, api.FieldErrorf("csr", "is not a certificate request signed by its own key")
	}
	id := tlsconf.NodeID(csr.PublicKey)
	if err := v.TakesJoin(id, fsm.Level(r.Level)); err != nil {
		return nil, err
	}
	tokenID, secret := splitToken(r.Token)
	join := &fsm.NodeJoin{Meta: fsm.Meta{At: a.cfg.Now(), Actor: "token:" + tokenID}, Token: tokenID, Hash: auth.Hash(secret), NodeID: id, Name: r.Name, VoterOnly: r.VoterOnly}
	if err := v.CheckJoin(join); err != nil {
		return nil, err // whoever guesses does not fill the log
	}
	value, err := a.store.Do(ctx, join)
	if err != nil {
		return nil, err
	}
	node := value.(*api.Node)
	cas := a.store.View().Authority().CAs() // whoever signs is among these, or follows at once
	cert, err := a.signFor(ctx, node.ID, node.Name, r.CSR)
	if err != nil {
		return nil, err
	}
	var seeds []string
	for n := range v.Nodes() {
		if n.State == api.NodeReady && n.Addr != "" && n.ID != id && len(seeds) < 8 {
			seeds = append(seeds, n.Addr)
		}
	}
	return &api.JoinGrant{CA: cas, NodeID: node.ID, Name: node.Name, Cluster: v.Cluster(), Certificate: cert, CACert: v.Authority().CACert,
		GossipKey: v.Authority().GossipKey, Seeds: seeds, Ages: a.line.String(), Level: int(v.Level()), Ring: v.Authority().Ring()}, nil
}

func splitToken(s string) (id, secret string) {
	for i := range s {
		if s[i] == '.' {
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}
