package api

import "strings"

// Who needs no credentials: root of a node, and who calls an open listener there.
// What they do names the node, as root@NODE, whichever node leads.
const (
	LocalRoot = "root"
	LocalDev  = "dev"
)

// AtNode is the actor that such a caller of a node is.
func AtNode(local, node string) string {
	if node == "" {
		return local
	}
	return local + "@" + node
}

// UserOf is the user that an actor is wherever it calls from: root of one node is
// root of another to shares, bounds and reports, or else a bound for each user would
// be one for each node.
func UserOf(actor string) string {
	if who, _, at := strings.Cut(actor, "@"); at && (who == LocalRoot || who == LocalDev) {
		return who
	}
	return actor
}

// Owner is the user that what the job holds is charged to.
func (j *Job) Owner() string { return UserOf(j.Actor) }

// RootSocket is the socket that a node keeps for root beside the one for all users of
// its machine, so that no crowd there keeps root waiting.
func RootSocket(socket string) string { return socket + ".root" }
