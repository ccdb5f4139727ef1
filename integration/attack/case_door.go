package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"math/big"
	"net/http"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/cluster/tlsconf"
	"github.com/mesita/mesita/integration/lab"
)

// forAnybody are the routes that take no credentials.
var forAnybody = map[string]bool{"GET /": true, "GET /v1/health": true, "GET /v1/openapi.json": true, "GET /v1/schema/job.json": true, "GET /docs": true, "GET /docs/{topic}": true, "GET /v1/ca": true, "POST /v1/renew": true, "POST /v1/join": true}

// routes are all that a node serves, with words for what their paths leave open.
func (r *run) routes(n *lab.Node) [][2]string {
	_, doc := stranger(r.stage).ask(n, http.MethodGet, "/v1/openapi.json", "", nil)
	var api struct {
		Paths map[string]map[string]json.RawMessage
	}
	r.must(json.Unmarshal([]byte(doc), &api))
	var out [][2]string
	for path, methods := range api.Paths {
		for method := range methods {
			if method = strings.ToUpper(method); !forAnybody[method+" "+path] && method == strings.TrimSpace(method) && len(method) < 8 {
				for _, v := range []string{"{id}", "{ref}", "{path...}", "{path}", "{digest}"} {
					path = strings.ReplaceAll(path, v, "prey")
				}
				out = append(out, [2]string{method, path})
			}
		}
	}
	if len(out) < 30 {
		r.stage.Errorf("%d routes in the description", len(out))
	}
	return out
}

// claims is a certificate that says what a node's does, of an authority that calls
// itself what the cluster's does.
func (r *run) claims(n *lab.Node) tls.Certificate {
	real := tls.Client(n.DialIn(1)[0], stranger(r.stage).conf("http/1.1"))
	defer real.Close()
	r.must(real.Handshake())
	leaf := real.ConnectionState().PeerCertificates[0]
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	r.must(err)
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: leaf.Issuer, IsCA: true, BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	mine := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: leaf.Subject.CommonName, Organization: leaf.Subject.Organization, OrganizationalUnit: leaf.Subject.OrganizationalUnit},
		DNSNames: leaf.DNSNames, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, mine, ca, key.Public(), key)
	r.must(err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// strangers: who shows nothing, or makes up who it is, is refused on every route
// and gets no stream of nodes.
func (r *run) strangers() {
	leader := r.lab.Leader()
	r.preyed()
	nobody, forger := stranger(r.stage), stranger(r.stage, r.claims(leader))
	routes := r.routes(leader)
	for _, n := range []*lab.Node{leader, r.worker} {
		for _, to := range routes {
			for _, header := range []map[string]string{nil, says("root", "admin"), says("node:"+leader.Name, "node", auth.HeaderNode, leader.Name), {"X-Forwarded-For": "127.0.0.1", "X-Real-Ip": "127.0.0.1", auth.HeaderForwarded: "1"}} {
				r.refused("a stranger", nobody, n, to[0], to[1], "{}", header)
			}
			r.refused("a forger", forger, n, to[0], to[1], "{}", says("root", "admin"))
		}
		for _, proto := range []string{tlsconf.ProtoRaft, tlsconf.ProtoGossip} {
			for who, x := range map[string]*caller{"a stranger": nobody, "a forger": forger} {
				if x.streams(n, proto) {
					r.stage.Errorf("%s gets a stream of %s from %s", who, proto, n.Name)
				}
			}
		}
	}
}

// token makes a client token and tells its secret.
func (r *run) token(name string, rights ...string) string {
	n := r.lab.Leader()
	var old struct{ Items []api.Token }
	n.Must(http.MethodGet, "/v1/tokens", nil, &old)
	for _, tok := range old.Items {
		if tok.Name == name {
			n.Must(http.MethodDelete, "/v1/tokens/"+tok.ID, nil, nil)
		}
	}
	return n.Token(api.TokenRequest{Kind: api.TokenClient, Name: name, Rights: rights})
}

// rights: who may deploy elsewhere takes over, scales, stops, removes or enters no
// job of a partition that is not its own, and reads no values there.
func (r *run) rights() {
	leader := r.lab.Leader()
	prey := r.preyed()
	leader.Must(http.MethodPut, "/v1/partitions/mine", json.RawMessage("{}"), nil)
	mine, viewer := bearer(r.token("attack-mine", "deployer@mine")), bearer(r.token("attack-viewer", "viewer"))
	var before, after api.Job
	leader.Must(http.MethodGet, "/v1/jobs/prey", nil, &before)
	x := stranger(r.stage)
	body := func(partition string) string {
		return `{"kind":"service","name":"prey","count":1,"partition":"` + partition + `","command":["/bin/false"]}`
	}
	for _, n := range []*lab.Node{leader, r.worker} {
		for _, to := range [][3]string{{"PUT", "/v1/jobs/prey", body("default")}, {"PUT", "/v1/jobs/prey", body("mine")}, {"PUT", "/v1/jobs/prey", body("nowhere")}, {"POST", "/v1/jobs", body("default")}, {"POST", "/v1/jobs/prey/scale", `{"count":0}`},
			{"POST", "/v1/jobs/prey/stop", ""}, {"DELETE", "/v1/jobs/prey", ""}, {"POST", "/v1/tasks/" + prey.ID + "/stop", "{}"}, {"POST", "/v1/tasks/" + prey.ID + "/exec?cmd=id", ""}, {"POST", "/v1/local/tasks/" + prey.ID + "/exec?cmd=id", ""},
			{"PUT", "/v1/partitions/default", "{}"}, {"POST", "/v1/tokens", anAdmin}, {"GET", "/v1/tokens", ""}, {"DELETE", "/v1/nodes/" + r.worker.Name, ""}} {
			for who, token := range map[string]map[string]string{"deployer@mine": mine, "a viewer": viewer} {
				got := x.call(n, to[0], to[1], to[2], token)
				if taken := who == "deployer@mine" && to[2] == body("mine") && got == http.StatusConflict; taken {
					continue // it may make a job there, but for the name
				}
				if got != http.StatusForbidden && got != http.StatusBadRequest && got != http.StatusNotFound && got != http.StatusUnprocessableEntity {
					r.stage.Errorf("%s at %s: %s %s: status %d", who, n.Name, to[0], to[1], got)
				}
			}
		}
		for _, path := range []string{"/v1/jobs/prey", "/v1/jobs?all=1", "/v1/tasks?all=1&job=prey", "/v1/tasks/" + prey.ID, "/v1/events?limit=1000", "/v1/openapi.json", "/v1/jobs/prey/why"} {
			if status, said := x.ask(n, http.MethodGet, path, "", viewer); status != http.StatusOK || strings.Contains(said, secret) {
				r.stage.Errorf("a viewer at %s: GET %s: status %d, with the value: %t", n.Name, path, status, strings.Contains(said, secret))
			}
		}
	}
	leader.Must(http.MethodGet, "/v1/jobs/prey", nil, &after)
	if before.Version != after.Version || before.Stop != after.Stop || *before.Spec.Count != *after.Spec.Count {
		r.stage.Errorf("the job was changed: %+v", after)
	}
	r.noTokenOf("evil")
}

// guesses: wrong join tokens and wrong client tokens by the hundred are slowed
// down, and neither who comes with a right one from elsewhere, nor root is.
func (r *run) guesses() {
	leader := r.lab.Leader()
	right := bearer(r.token("attack-viewer", "viewer"))
	x := stranger(r.stage)
	slowed := 0
	for i := range 200 {
		status := x.call(leader, http.MethodPost, "/v1/join", `{"token":"mst1-x-aaaaaaaa.bbbb","csr":"AAAA","name":"evil"}`, nil)
		if i%2 == 0 {
			status = x.call(leader, http.MethodGet, "/v1/cluster", "", bearer("msc1-aaaaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"))
		}
		if status == http.StatusTooManyRequests {
			slowed++
		}
		if status == http.StatusOK {
			r.stage.Errorf("a wrong token is taken")
		}
	}
	if slowed == 0 {
		r.stage.Errorf("200 guesses were answered as if each were the first")
	}
	x.from = r.lab.Other(leader)
	if status := x.call(leader, http.MethodGet, "/v1/cluster", "", right); status != http.StatusOK {
		r.stage.Errorf("who has a right token and comes from elsewhere: status %d", status)
	}
	leader.Must(http.MethodGet, "/v1/cluster", nil, nil)
}
