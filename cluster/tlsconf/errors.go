package tlsconf

import "errors"

var (
	// ErrPinMismatch: the server's CA is not the one that the join token names.
	ErrPinMismatch = errors.New("the CA pin does not match")
	// ErrWrongKey: a key does not belong to the node id or certificate beside it.
	ErrWrongKey = errors.New("the key belongs to another node")
	// ErrNoNodeCertificate: a peer without a node certificate of this cluster
	// asked for a protocol that is for nodes only.
	ErrNoNodeCertificate = errors.New("this protocol needs a node certificate of the cluster")
	// ErrNoVoter: a node that does not vote answered where only a voter counts.
	ErrNoVoter = errors.New("the node is not a voter")
	// ErrOtherAuthority: a node's certificate is of an authority that is not known:
	// of another cluster, or its key was changed while this node was off.
	ErrOtherAuthority = errors.New("the certificate is not of this cluster's authority")
	// ErrNotFollowed: no key that is trusted has signed the authority's.
	ErrNotFollowed = errors.New("the CA's key does not follow one that is known")
	// ErrExpired: a certificate of this cluster is good but for its age.
	ErrExpired = errors.New("the node's certificate has expired")
	// ErrRemoved: the node was removed from the cluster, so its certificate is
	// not renewed.
	ErrRemoved = errors.New("this node was removed from the cluster")
)
