package server

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
)

const maxBlobName = 255

func (c *call) digest() (string, error) {
	if d := c.Args[0]; api.ValidDigest(d) {
		return d, nil
	}
	return "", api.FieldErrorf("digest", "%q is not a digest: sha256: and 64 hex digits", c.Args[0])
}

func getBlob(c *call) (any, error) {
	d, err := c.digest()
	if err != nil {
		return nil, err
	}
	if c.ID.Role == api.RoleNode {
		if err := c.Cluster.MayFetch(c.R.Context(), c.ID.NodeID, d); err != nil {
			return nil, err
		}
	} else if c.R.Method == get {
		// Whose jobs need it, and who else holds it, is not known here.
		if !c.Cluster.HasReplica() && !c.ID.Forwarded && (auth.May(c.ID, auth.Fetch, auth.Object{}) != nil || !c.Local.HasBlob(d)) {
			return exchange.Done{}, c.AtLeader()
		}
		if err := c.mayFetch(d); err != nil {
			return nil, err
		}
	}
	// An upload of which the cluster was not told was cut off, or is forgotten; and whoever does
	// not know is sent it again, and tells, rather than say that it is there.
	if c.R.Method == http.MethodHead && (!c.Cluster.HasReplica() || c.Store.View().Blob(d) == nil) {
		return nil, api.Errorf(api.CodeNotFound, "program %s was not uploaded, or not whole", d)
	}
	content, size, err := c.Local.OpenBlob(d)
	if api.ErrorCode(err) == api.CodeNotFound && c.ID.Role != api.RoleNode && c.R.Method == get {
		return c.blobElsewhere(d, err)
	}
	if err != nil {
		return nil, err
	}
	defer content.Close()
	c.W.Header()["Content-Length"] = []string{strconv.FormatInt(size, 10)}
	c.Head(http.StatusOK, []string{"application/octet-stream"})
	if c.R.Method == http.MethodHead {
		return exchange.Done{}, nil
	}
	out := exchange.NewStream(c.Call)
	buf := make([]byte, 64<<10)
	for {
		n, err := content.Read(buf)
		if n > 0 && out.Write(buf[:n], false) != nil {
			return exchange.Done{}, nil // the reader left or is too slow
		}
		if errors.Is(err, io.EOF) {
			return exchange.Done{}, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// blobElsewhere has a node answer that holds an upload; none is what this one answers
// if there is no such node.
func (c *call) blobElsewhere(digest string, none error) (any, error) {
	b := c.Store.View().Blob(digest)
	if b == nil || c.Searched() {
		return nil, none
	}
	var there, away []string
	for _, id := range b.Nodes {
		switch n := c.Store.View().Node(id); {
		case n == nil || n.State == api.NodeGone || id == c.Cluster.NodeID():
		case n.State == api.NodeReady || n.State == api.NodeDraining:
			there = append(there, id)
		default:
			away = append(away, id)
		}
	}
	answered, err := c.RelayToAny(append(there, away...))
	if answered {
		return exchange.Done{}, err
	}
	if code := api.ErrorCode(err); err != nil && (code == api.CodeUnavailable || code == api.CodeUnknown) {
		return nil, err // it may be there all the same
	}
	return nil, none
}

// putBlob keeps an uploaded program on this node and tells the cluster.
func putBlob(c *call) (any, error) {
	d, err := c.digest()
	if err != nil {
		return nil, err
	}
	name := c.Query.Text("name")
	if len(name) > maxBlobName {
		return nil, api.FieldErrorf("name", "has %d characters, at most %d are allowed", len(name), maxBlobName)
	}
	if folder, full := c.Local.DiskFull(); full {
		c.RefuseBody()
		return nil, api.Errorf(api.CodeUnavailable, "the disk of %s on node %s is full: free some space there, or upload to another node", folder, c.NodeName)
	}
	size := c.R.ContentLength
	if c.Local.HasBlob(d) {
		c.RefuseBody()
	} else if err := c.Local.PutBlob(d, size, func(w io.Writer) (err error) { size, err = c.receiveBlob(w); return err }); err != nil {
		c.RefuseBody() // what is left of it may never come
		return nil, err
	}
	b := &api.Blob{Digest: d, Name: name, Size: max(size, 0), Created: c.Now()}
	if c.Cluster.IsLeader() {
		return c.Do(&fsm.BlobPut{Meta: c.Meta(), Blob: b, NodeID: c.Cluster.NodeID()})
	}
	var out api.Blob
	return &out, c.Ask(http.MethodPost, "/v1/internal/blobs", blobHeld{b, c.Cluster.NodeID()}, &out)
}

// receiveBlob copies the body; each part of it must come in time.
func (c *call) receiveBlob(w io.Writer) (size int64, err error) {
	rc := http.NewResponseController(c.W)
	body := http.MaxBytesReader(c.W, c.R.Body, api.MaxBlob)
	buf := make([]byte, 64<<10)
	for {
		rc.SetReadDeadline(time.Now().Add(c.Patience.Body)) // an in-memory writer has none
		if err := c.Over(); err != nil {
			return size, err // the deadline that this set may have been undone
		}
		n, err := body.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return size, err
			}
			size += int64(n)
		}
		var large *http.MaxBytesError
		switch {
		case errors.Is(err, io.EOF):
			rc.SetReadDeadline(time.Time{})
			return size, nil
		case errors.As(err, &large):
			return size, exchange.TooLarge(api.MaxBlob)
		case err != nil:
			return size, api.Errorf(api.CodeInvalid, "the upload is cut off or too slow: %v", err)
		}
	}
}

// blobHeld says that a node holds an uploaded program.
type blobHeld struct {
	Blob   *api.Blob `json:"blob"`
	NodeID string    `json:"nodeID"`
}

// recordBlob is how a node that does not lead tells of an upload. It comes in
// the name of the user whose upload it is.
func recordBlob(c *call) (any, error) {
	var in blobHeld
	if err := c.Decode(&in); err != nil {
		return nil, err
	}
	if in.Blob == nil || !api.ValidDigest(in.Blob.Digest) || len(in.Blob.Name) > maxBlobName || in.Blob.Size < 0 || in.Blob.Size > api.MaxBlob {
		return nil, api.FieldErrorf("blob", "is not a program that was uploaded")
	}
	n := c.Store.View().Node(in.NodeID)
	if n == nil || n.State == api.NodeGone {
		return nil, api.FieldErrorf("nodeID", "is not a node of the cluster")
	}
	if n.Name != c.ID.Via {
		return nil, api.Errorf(api.CodeNotAllowed, "node %s may not tell what node %s holds", c.ID.Via, n.Name)
	}
	b := api.Blob{Digest: in.Blob.Digest, Name: in.Blob.Name, Size: in.Blob.Size, Created: c.Now()} // by which it may be forgotten
	return c.Do(&fsm.BlobPut{Meta: c.Meta(), Blob: &b, NodeID: in.NodeID})
}
