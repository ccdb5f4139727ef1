package server

import (
	"testing"

	"github.com/mesita/mesita/api"
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
