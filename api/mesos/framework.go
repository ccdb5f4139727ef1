package mesos

import (
	"crypto/rand"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/admit"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/mesos/rows"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
	"github.com/mesita/mesita/fsm"
)

// capabilities are what a framework says that it knows.
type capabilities struct {
	multiRole, refinement, partitionAware, taskKilling, gpus bool
}

func capabilitiesOf(f *v1.FrameworkInfo) (c capabilities) {
	for _, m := range f.Capabilities {
		switch v1.Get(m.Type) {
		case v1.FrameworkInfoCapabilityTypeMultiRole:
			c.multiRole = true
		case v1.FrameworkInfoCapabilityTypeReservationRefinement:
			c.refinement = true
		case v1.FrameworkInfoCapabilityTypePartitionAware:
			c.partitionAware = true
		case v1.FrameworkInfoCapabilityTypeTaskKillingState:
			c.taskKilling = true
		case v1.FrameworkInfoCapabilityTypeGPUResources:
			c.gpus = true
		}
	}
	return c
}

// newUUID is a random one.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// rolesOf are the roles of a framework, or why it cannot have them.
func rolesOf(f *v1.FrameworkInfo, caps capabilities) ([]string, error) {
	roles := f.Roles
	switch {
	case caps.multiRole && f.Role != nil:
		return nil, wrong("'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable")
	case !caps.multiRole && len(f.Roles) > 0:
		return nil, wrong("'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable")
	case !caps.multiRole:
		roles = []string{f.GetRole()}
	}
	if len(roles) > api.MaxPartitions {
		return nil, wrong("'FrameworkInfo.roles' has %d items, and there are at most %d partitions", len(roles), api.MaxPartitions)
	}
	for i, r := range roles {
		if err := validRole(r); err != nil {
			return nil, err
		}
		if slices.Contains(roles[:i], r) {
			return nil, wrong("'FrameworkInfo.roles' contains duplicate items: %s", r)
		}
	}
	return roles, nil
}

func validRole(r string) error {
	switch {
	case r == "*":
		return nil
	case r == "":
		return wrong("Empty role name is invalid")
	case strings.HasPrefix(r, "/"):
		return wrong("Role '%s' cannot start with a slash", r)
	case strings.HasSuffix(r, "/"):
		return wrong("Role '%s' cannot end with a slash", r)
	case strings.Contains(r, "//"):
		return wrong("Role '%s' cannot contain two adjacent slashes", r)
	}
	for part := range strings.SplitSeq(r, "/") {
		switch {
		case part == "." || part == ".." || part == "*":
			return wrong("Role name '%s' is invalid: '%s' is disallowed in it", r, part)
		case strings.HasPrefix(part, "-"):
			return wrong("Role name '%s' is invalid: it cannot start with a dash", r)
		case strings.ContainsFunc(part, func(c rune) bool { return c <= 0x20 || c == 0x7f || c == '\\' }):
			return wrong("Role name '%s' cannot contain whitespace, backspaces or backslashes", r)
		}
	}
	return nil
}

// admitted are the partitions of roles, if the caller may start tasks there.
func admitted(v *fsm.View, id auth.Identity, roles []string) ([]string, error) {
	out := make([]string, 0, len(roles))
	for _, r := range roles {
		path := partition(r)
		if v.Partition(path) == nil {
			return nil, wrong("Role '%s' is not present in the master's --roles: there is no partition of that name, and `mesita partition create %s` makes it", r, r)
		}
		if err := auth.May(id, auth.Deploy, admit.Object(v, path, "")); err != nil {
			return nil, wrong("Not authorized to use role '%s': %v", r, err)
		}
		out = append(out, path)
	}
	return out, nil
}

// frameworkOf is what is remembered of a framework, or why it cannot be.
func frameworkOf(v *fsm.View, id auth.Identity, info *v1.FrameworkInfo) (*api.Framework, error) {
	caps := capabilitiesOf(info)
	roles, err := rolesOf(info, caps)
	if err != nil {
		return nil, err
	}
	timeout := info.GetFailoverTimeout()
	switch principal := id.Principal(); {
	case principal != "" && info.Principal != nil && *info.Principal != principal:
		return nil, wrong("Authenticated principal '%s' does not match principal '%s' set in `FrameworkInfo`", principal, *info.Principal)
	case principal != "":
		info.Principal = &principal
	}
	if math.IsNaN(timeout) || timeout < 0 || timeout >= math.MaxInt64/1e9 {
		return nil, wrong("The framework failover_timeout (%v) is invalid: it is a number of seconds", timeout)
	}
	if f := frameworkID(info.ID); f != "" {
		if err := validID(f); err != nil {
			return nil, wrong("Framework ID is invalid: %v", err)
		}
		if f == rows.Own {
			return nil, wrong("Framework ID is invalid: '%s' is that of the cluster's own jobs", f)
		}
	}
	paths, err := admitted(v, id, roles)
	if err != nil {
		return nil, err
	}
	f := &api.Framework{ID: frameworkID(info.ID), Name: info.Name, User: info.User, Principal: v1.Get(info.Principal), Host: v1.Get(info.Hostname), URL: v1.Get(info.WebUIURL),
		Partitions: paths, Failover: api.Duration(time.Duration(timeout * 1e9))}
	if id.Anonymous() {
		f.Principal = "" // anybody may say any name, and what has one is of who proved it
	}
	return f, nil
}

// keepInfo puts what a framework said of itself beside what is understood of it; of user
// and checkpoint what it said first holds.
func keepInfo(f, old *api.Framework, info *v1.FrameworkInfo) error {
	said := *info
	said.ID = &v1.FrameworkID{Value: f.ID}
	if old != nil {
		var before v1.FrameworkInfo
		if err := wire.Unmarshal(wire.Protobuf, old.Info, &before); err == nil {
			said.User, said.Checkpoint, f.User = before.User, before.Checkpoint, old.User
		}
	}
	var err error
	if f.Info, err = wire.Marshal(wire.Protobuf, &said); err != nil {
		return wrong("FrameworkInfo cannot be kept: %v", err)
	}
	if len(f.Info) > api.MaxFrameworkInfo {
		return wrong("FrameworkInfo has %d bytes, and at most %d are remembered", len(f.Info), api.MaxFrameworkInfo)
	}
	return nil
}

// suppressed are the partitions of suppressed roles, which are of the framework's own.
func suppressed(f *api.Framework, roles []string) ([]string, error) {
	var out []string
	for _, r := range roles {
		if !f.In(partition(r)) {
			return nil, wrong("Suppressed role '%s' is not contained in the list of roles", r)
		}
		out = append(out, partition(r))
	}
	return out, nil
}
