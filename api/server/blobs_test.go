package server

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/fsm"
)

// helloDigest is of "hello".
const helloDigest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

func TestBlobs(t *testing.T) {
	n := newLeader(t)
	token := n.token(api.RoleOperator)
	path := "/v1/blobs/" + helloDigest
	n.send(request{method: "HEAD", path: path, token: token}).want(t, 404)
	r := n.send(request{method: "PUT", path: path + "?name=server", body: "hello", token: token})
	r.want(t, 200)
	if b := into[api.Blob](t, r); b.Size != 5 || b.Name != "server" || len(b.Nodes) != 1 || b.Nodes[0] != "oak" {
		t.Errorf("%+v", b)
	}
	if r := n.send(request{method: "HEAD", path: path, token: token}); r.StatusCode != 200 || r.ContentLength != 5 {
		t.Errorf("HEAD: %d, %d bytes", r.StatusCode, r.ContentLength)
	}
	if r := n.send(request{method: "GET", path: path, token: token}); string(r.body) != "hello" || r.Header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("GET: %q", r.body)
	}
	if e := n.send(request{method: "PUT", path: "/v1/blobs/sha256:x", body: "hello", token: token}).want(t, 400); e.Field != "digest" {
		t.Errorf("%+v", e)
	}
}

// What was kept here and of which the cluster was not told, as the upload was cut off in
// between, is uploaded again: else it could be named by no job.
func TestAnUploadThatTheClusterDoesNotKnow(t *testing.T) {
	n := newLeader(t)
	token := n.token(api.RoleOperator)
	path := "/v1/blobs/" + helloDigest
	n.blobs[helloDigest] = []byte("hello")
	n.send(request{method: "HEAD", path: path, token: token}).want(t, 404)
	n.send(request{method: "PUT", path: path, body: "hello", token: token}).want(t, 200)
	n.send(request{method: "HEAD", path: path, token: token}).want(t, 200)
}

// An upload is had as long as one node holds it that answers: whoever lost it, is damaged
// or is silent is passed over, all in the time of one read.
func TestAnUploadIsHadFromAnyHolder(t *testing.T) {
	w := newWorld()
	store := newStore(t)
	nodes := []*testNode{newTestNode(t, w, "oak", store)}
	w.lead("oak")
	for _, id := range []string{"elm", "fir", "ash"} {
		addNode(t, store, id)
		nodes = append(nodes, newTestNode(t, w, id, store))
	}
	for _, n := range nodes[1:] {
		do(t, store, &fsm.BlobPut{Meta: fsm.Meta{At: testTime}, Blob: &api.Blob{Digest: helloDigest, Size: 5}, NodeID: n.id})
	}
	token := nodes[0].token(api.RoleOperator)
	get := request{method: "GET", path: "/v1/blobs/" + helloDigest, token: token}
	nodes[0].send(get).want(t, 404)
	silent := make(chan struct{})
	defer close(silent)
	nodes[2].hang.Store(&silent)
	nodes[0].server.http.Patience.Body = 4 * time.Second
	nodes[3].blobs[helloDigest] = []byte("hello")
	if r := nodes[0].send(get); r.StatusCode != 200 || string(r.body) != "hello" {
		t.Errorf("%d %q", r.StatusCode, r.body)
	}
	if nodes[1].asked.Load() == 0 || nodes[2].asked.Load() == 0 {
		t.Error("the test asked no node that does not have it")
	}
}

// Which node holds an upload is told by that node alone.
func TestWhoTellsOfUploads(t *testing.T) {
	_, oak, elm := twoNodes(t)
	body := blobHeld{&api.Blob{Digest: helloDigest, Size: 5}, "elm"}
	q := request{method: "POST", path: "/v1/internal/blobs", body: body, token: oak.token(api.RoleAdmin)}
	oak.send(q).want(t, 403)
	elm.send(q).want(t, 403) // and is not passed on as the node's own
	oak.send(request{method: q.method, path: q.path, body: body, cert: "elm"}).want(t, 403)
	asked := http.Header{auth.HeaderForwarded: {"1"}}
	q.header = asked
	oak.send(q).want(t, 403)
	q.cert = "oak"
	oak.send(q).want(t, 403)
	if b := oak.store.View().Blob(helloDigest); b != nil {
		t.Errorf("the cluster took %+v", b)
	}
	q.cert = "elm"
	oak.send(q).want(t, 200)
}

// Whose jobs need an upload decides, whichever node is asked and whichever holds it: also
// where neither knows the state.
func TestAnUploadIsHadThroughAnyNode(t *testing.T) {
	for _, holder := range []string{"oak", "elm", "fir", "ash"} {
		w, oak, elm := twoNodes(t)
		nodes := map[string]*testNode{"oak": oak, "elm": elm}
		for _, id := range []string{"fir", "ash"} { // they do not vote
			addNode(t, oak.store, id)
			nodes[id] = newTestNode(t, w, id, fsm.NewStore(nil))
			nodes[id].replica = false
		}
		w.workers = map[string]bool{"fir": true, "ash": true}
		nodes[holder].blobs[helloDigest] = []byte("hello")
		do(t, oak.store, &fsm.BlobPut{Meta: fsm.Meta{At: testTime}, Blob: &api.Blob{Digest: helloDigest, Size: 5}, NodeID: holder})
		spec := &api.JobSpec{Name: "web", Kind: api.KindService}
		spec.Partition, spec.Program, spec.Command = api.DefaultPartition, helloDigest, []string{"./web"}
		do(t, oak.store, &fsm.JobCreate{Meta: fsm.Meta{At: testTime}, Spec: spec})
		mine, other, all := oak.with("ci", "deployer@default/web*"), oak.with("qa", "deployer@default/shop*"), oak.token(api.RoleAdmin)
		for id, n := range nodes {
			get := request{method: "GET", path: "/v1/blobs/" + helloDigest}
			for _, get.token = range []string{mine, all} {
				if r := n.send(get); r.StatusCode != 200 || string(r.body) != "hello" {
					t.Errorf("held by %s, asked of %s: %d %s", holder, id, r.StatusCode, r.body)
				}
			}
			get.token = other
			n.send(get).want(t, 403)
			get.path = "/v1/blobs/sha256:" + strings.Repeat("0", 64)
			get.token = all
			n.send(get).want(t, 404)
		}
	}
}

// A node is told which of its uploads have to stay: those that a version of a job has, and
// that the others ask it for.
func TestWhichUploadsHaveToStay(t *testing.T) {
	_, oak, elm := twoNodes(t)
	digest := func(x string) string { return "sha256:" + strings.Repeat(x, 64) }
	for i, holder := range []string{"elm", "oak", "elm"} {
		do(t, oak.store, &fsm.BlobPut{Meta: fsm.Meta{At: testTime}, Blob: &api.Blob{Digest: digest(string(rune('a' + i))), Size: 5}, NodeID: holder})
	}
	for i, of := range []string{"a", "b"} {
		spec := &api.JobSpec{Name: fmt.Sprint("web", i), Kind: api.KindService}
		spec.Partition, spec.Program, spec.Command = api.DefaultPartition, digest(of), []string{"./web"}
		do(t, oak.store, &fsm.JobCreate{Meta: fsm.Meta{At: testTime}, Spec: spec})
	}
	all := NeededUploads{Digests: []string{digest("a"), digest("b"), digest("c"), digest("d")}}
	for _, n := range []*testNode{oak, elm} { // who does not lead passes it on
		r := n.send(request{method: "POST", path: NeededPath, body: all, cert: "elm"})
		r.want(t, 200)
		if got := into[NeededUploads](t, r); !slices.Equal(got.Digests, []string{digest("a")}) {
			t.Errorf("%s: %v", n.id, got.Digests)
		}
	}
	oak.send(request{method: "POST", path: NeededPath, body: all, token: oak.token(api.RoleAdmin)}).want(t, 403)
	oak.send(request{method: "POST", path: NeededPath, body: NeededUploads{Digests: make([]string, maxNeeded+1)}, cert: "elm"}).want(t, 400)
}
