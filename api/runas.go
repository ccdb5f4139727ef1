package api

import (
	"slices"
	"strconv"
	"strings"
)

// TaskUser is who the tasks of users run as, where neither their token nor their
// partition says: each as a user of its own of the node, which no other task is.
const TaskUser = "mesita-task"

// AttrAllowRoot is an attribute of nodes, "yes" where the tasks of users may be
// root, or whoever they like.
const AttrAllowRoot = "node.allow-root"

// onRootNodes is the condition that a task has which may be root only there.
var onRootNodes = Constraint{Attr: AttrAllowRoot, Op: "=", Value: "yes"}

// OnlyWhereRoot has the tasks run on nodes alone that allow root.
func (t *TaskSpec) OnlyWhereRoot() {
	if !t.NeedsRootNode() {
		t.Constraints = append(slices.Clone(t.Constraints), onRootNodes)
	}
}

// NeedsRootNode reports whether they do.
func (t *TaskSpec) NeedsRootNode() bool {
	return slices.ContainsFunc(t.Constraints, func(c Constraint) bool {
		return c.Attr == onRootNodes.Attr && c.Op == onRootNodes.Op && c.Value == onRootNodes.Value
	})
}

// RunsAs names who the tasks run as.
func (t *TaskSpec) RunsAs() string {
	if IsRoot(t.User) {
		return "root"
	}
	return t.User
}

// IsRoot reports whether a user, as a spec has it, is root of the node.
func IsRoot(user string) bool {
	name, _, _ := strings.Cut(user, ":")
	id, err := strconv.ParseUint(name, 10, 64)
	return name == "" || name == "root" || err == nil && id == 0
}

// validateUser checks USER or USER:GROUP.
func validateUser(field, user string) error {
	name, group, grouped := strings.Cut(user, ":")
	if strings.ContainsAny(user, " /\n\x00") || len(name) > MaxName || len(group) > MaxName || strings.Contains(group, ":") || grouped && (name == "" || group == "") {
		return FieldErrorf(field, "%q is not a user name, a number or USER:GROUP", user)
	}
	return nil
}
