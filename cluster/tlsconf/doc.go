// Package tlsconf owns who may talk to whom: the cluster's certificate
// authority, node keys and certificates, their files, their live renewal, the
// *tls.Config made from them, and the listener that shares one TCP port between
// HTTP, Raft and gossip by ALPN.
//
// It does not own tokens, users or roles (api/auth), nor what is said over a
// connection. Package cluster calls it, and `mesita login`, which finds the authority of a
// token. The listener is for Linux alone, as nodes are.
//
// A node's identity is its key: its id is a hash of the public key, so no
// certificate can move an id to another key, and an address is never part of
// an identity. Every node certificate carries three names: "<id>.node.mesita"
// (this node), "node.mesita" (any node of the cluster) and the node's own name.
// A client verifies a server against the cluster's CA and one of the first two.
package tlsconf
