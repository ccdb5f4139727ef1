package admit

import (
	"cmp"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/fsm"
)

// Mapping is who the tasks of a user are on nodes.
type Mapping struct {
	User    string // by default, and the only one unless Anybody
	Anybody bool   // the partition allows root, who can become anybody
}

// MappingOf is that of who shows a token in a partition: the token's, or that of
// the nearest partition at or above it that says.
func MappingOf(v *fsm.View, token, partition string) Mapping {
	m := Mapping{User: token}
	for path := partition; path != ""; path = api.ParentPath(path) {
		if p := v.Partition(path); p != nil {
			m.User = cmp.Or(m.User, p.RunAs)
			m.Anybody = m.Anybody || p.AllowRoot
		}
	}
	m.User = cmp.Or(m.User, api.TaskUser)
	if api.IsRoot(m.User) {
		m.User = "root"
	}
	return m
}

// Refusal is why a user's tasks may not be somebody, and what to do.
func (m Mapping) Refusal(actor, user, partition string) string {
	ask := "for a token with --run-as " + user + " or "
	if api.IsRoot(user) {
		ask = "" // which would take the other as well
	}
	if m.User == "root" {
		return actor + " runs tasks as root, which partition " + partition + " does not allow: ask an admin " + ask + "for `mesita partition set " + partition + " --allow-root`"
	}
	return actor + " runs tasks as \"" + m.User + "\" in partition " + partition + ", not as \"" + user + "\": leave --user out, or ask an admin " + ask + "for `mesita partition set " + partition + " --allow-root`"
}

// SettleUser fills in who the tasks of a spec run as that the caller submits, or refuses
// whom it names: the state has no word for who the caller is on a node. Admins of the
// cluster choose anybody, and are root by default. The spec is looked at anew by valid if
// it was changed.
func SettleUser(v *fsm.View, id auth.Identity, s *api.JobSpec, valid func() error) error {
	if Root(id) {
		s.User = cmp.Or(s.User, id.RunAs)
		return nil
	}
	m := MappingOf(v, id.RunAs, s.Partition)
	s.User = cmp.Or(s.User, m.User)
	if s.User == m.User && !api.IsRoot(s.User) {
		return nil
	}
	if !m.Anybody {
		return &api.Error{Code: api.CodeNotAllowed, Field: "user", Message: m.Refusal(id.Actor, s.User, s.Partition)}
	}
	s.OnlyWhereRoot()
	return valid() // there may be one condition too many now
}
