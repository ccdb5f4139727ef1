package auth

import (
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
)

// Action is what somebody wants to do. The zero value is none: a route without
// one does not start.
type Action uint8

// The actions.
const (
	_       Action = iota
	Nothing        // that needs no rights
	Look           // at what there is, without the values of environments
	ReadLogs
	Deploy // submit, change, scale, stop, move and remove jobs
	Exec
	Upload     // programs
	Fetch      // programs that were uploaded
	ReadValues // of environments
	CloseIncidents
	ManagePartitions
	ManageNodes
	ManageTokens
	ManageCluster
	BeNode // what only nodes do among themselves
)

// Scope is of what an action of a route is. The zero value is none.
type Scope uint8

// The scopes. Of what the path names it is asked as it is; as it shall be,
// the handler asks once it has read the body.
const (
	_           Scope = iota
	OfCluster         // as a whole
	OfAny             // a right anywhere is enough
	OfBody            // of what the body names
	OfJob             // that the path names
	OfTask            // that the path names
	OfPartition       // that the path names
	OfFramework       // that the path names, in all partitions that it is in
	OfOffer           // that the path names
	OfVouched         // of what the node that relays has asked for
)

var actions = [...]struct {
	name   string
	role   int  // the least, of api.RightRoles; -1 = none
	listed bool // the lists of partitions bind it
}{
	Nothing: {"nothing", -1, false}, BeNode: {"be-node", -1, false}, Look: {"look", viewer, false}, ReadLogs: {"logs", viewer, false},
	Deploy: {"deploy", deployer, true}, Exec: {"exec", deployer, true}, Upload: {"upload", deployer, false}, Fetch: {"fetch", deployer, true}, ReadValues: {"values", deployer, true},
	CloseIncidents: {"close-incidents", operator, false}, ManagePartitions: {"manage-partitions", admin, false}, ManageNodes: {"manage-nodes", admin, false},
	ManageTokens: {"manage-tokens", admin, false}, ManageCluster: {"manage-cluster", admin, false},
}

const (
	viewer = iota
	deployer
	operator
	admin
)

func (a Action) String() string { return actions[a].name }

// Role is the least that may, "" if it takes none.
func (a Action) Role() string {
	if r := actions[a].role; r >= 0 {
		return api.RightRoles[r]
	}
	return ""
}

// Actions are the names of those that rights are about.
func Actions() (names []string) {
	for _, a := range actions {
		if a.role >= 0 && a.name != "" {
			names = append(names, a.name)
		}
	}
	return names
}

// ActionOf is the action of that name.
func ActionOf(name string) (Action, bool) {
	for a, of := range actions {
		if name != "" && of.name == name && of.role >= 0 {
			return Action(a), true
		}
	}
	return 0, false
}

// Object is what an action is about. The zero value is the cluster.
type Object struct {
	Partition string
	Job       string         // "" = all of the partition's
	Lists     *api.Partition // the nearest at or above Partition that names who may submit; nil = none does
	Anywhere  bool           // whatever there may be: one is enough of which the caller may
}

// May says why somebody may not do something, nil = it may. Rights add up: one
// that covers the object is enough. A partition's lists bind those whose right is
// not of that partition or of something in it.
func May(id Identity, a Action, on Object) error {
	need := actions[a].role
	switch {
	case a == Nothing:
		return nil
	case a == BeNode && id.Role != api.RoleNode:
		return refuse(id, "only nodes of the cluster may do this")
	case a == BeNode:
		return nil
	case id.Role == api.RoleNode:
		return api.Errorf(api.CodeNotAllowed, "a node may not do this in its own name: it passes on what a user shows")
	case !id.Known():
		return refuse(id, "")
	}
	best, unlisted := -1, false
	for r := range id.rights() {
		if !r.over(on, a) {
			continue
		}
		have := slices.Index(api.RightRoles, r.Role)
		best = max(best, have)
		if have >= need {
			if !actions[a].listed || on.Anywhere || r.listed(id, on) {
				return nil
			}
			unlisted = true
		}
	}
	if unlisted {
		p := on.Lists
		return &api.Error{Code: api.CodeNotAllowed, Field: "partition",
			Message: "partition " + p.Path + " takes work from " + whom(p) + " only, and you are " + id.Actor + " (" + id.Has() + "): use another partition, or ask an admin to put you on the list with `mesita partition set " + p.Path + " --user …`"}
	}
	return api.Errorf(api.CodeNotAllowed, "%s may not %s %s: it takes the role %s there, and %[1]s has %[5]s", id.Actor, a, on.String(), a.Role(), id.Has())
}

func refuse(id Identity, why string) error {
	if !id.Known() {
		why = "credentials are needed: log in with `mesita login`, set MESITA_TOKEN, or run the command as root on a node"
	}
	return api.Errorf(api.CodeNotAllowed, "%s", why)
}

func (o Object) String() string {
	switch {
	case o.Anywhere:
		return "anywhere"
	case o.Partition == "":
		return "in the whole cluster"
	case o.Job == "":
		return "in partition " + o.Partition
	}
	return "job " + o.Job + " in partition " + o.Partition
}

// right is one of an identity's.
type right struct{ api.Right }

// over reports whether the right is of an object. Who is admin of a partition
// decides on what is below it, not on its own share; what there is, everybody
// sees who may do something anywhere.
func (r right) over(on Object, a Action) bool {
	switch {
	case on.Anywhere || a == Look:
		return true
	case on.Partition == "":
		return r.Partition == "" && r.Jobs == ""
	case a == ManagePartitions && r.Partition == on.Partition:
		return false
	}
	return r.Covers(on.Partition, on.Job)
}

// listed reports whether the lists of a partition let the right be.
func (r right) listed(id Identity, on Object) bool {
	p := on.Lists
	if p == nil || r.Role == "admin" || r.Partition == p.Path || strings.HasPrefix(r.Partition, p.Path+"/") {
		return true
	}
	name := strings.TrimPrefix(id.Actor, "token:")
	for _, u := range p.Users {
		if u == id.Actor || strings.TrimPrefix(u, "token:") == name {
			return true
		}
	}
	have := slices.Index(api.RightRoles, r.Role)
	return slices.ContainsFunc(p.Roles, func(role string) bool { i := slices.Index(api.RightRoles, role); return i >= 0 && have >= i })
}

func whom(p *api.Partition) string {
	out := slices.Clone(p.Users[:min(len(p.Users), 8)])
	if more := len(p.Users) - len(out); more > 0 {
		out = append(out, "others")
	}
	for _, r := range p.Roles {
		out = append(out, "the role "+r)
	}
	return strings.Join(append(out, "admins"), ", ")
}
