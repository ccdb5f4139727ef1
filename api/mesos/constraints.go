package mesos

import (
	"regexp"
	"regexp/syntax"
	"slices"

	"github.com/mesita/mesita/api"
	v1 "github.com/mesita/mesita/api/mesos/v1"
)

// The bounds of offer constraints: those of Mesos, and of how many there are.
const (
	maxConstraints = 1000 // of one framework
	maxPattern     = 4 << 10
	maxProgram     = 100 // instructions of a regular expression
)

// attribute is what is known of a node by a name.
type attribute func(n *api.Node) (value string, ok bool)

// predicate reports whether a node is as a framework wants it.
type predicate func(n *api.Node) bool

// wanted is which nodes a framework may be offered in a partition: those that it
// constrains itself to, and of those with GPUs none if it does not know what these are.
func wanted(f *api.Framework, m *v1.OfferConstraints, caps capabilities) (func(partition string, n *api.Node) bool, error) {
	groups := map[string][][]predicate{} // by partition; of one group all hold
	count := 0
	if m != nil {
		for name, r := range m.RoleConstraints {
			if !f.In(partition(name)) {
				return nil, wrong("'OfferConstraints::role_constraints' has role '%s', which is not contained in the list of roles", name)
			}
			if len(r.Groups) == 0 {
				return nil, wrong("'OfferConstraints::role_constraints' has an empty 'RoleConstraints::groups' for role %s", name)
			}
			for _, g := range r.Groups {
				if count += len(g.AttributeConstraints); count > maxConstraints {
					return nil, wrong("'OfferConstraints' has more than %d constraints", maxConstraints)
				}
				all, err := groupOf(name, g)
				if err != nil {
					return nil, err
				}
				groups[partition(name)] = append(groups[partition(name)], all)
			}
		}
	}
	return func(partition string, n *api.Node) bool {
		if n.Resources.GPUs > 0 && !caps.gpus {
			return false
		}
		any := groups[partition]
		return len(any) == 0 || slices.ContainsFunc(any, func(all []predicate) bool {
			return !slices.ContainsFunc(all, func(p predicate) bool { return !p(n) })
		})
	}, nil
}

func groupOf(role string, g *v1.OfferConstraintsRoleConstraintsGroup) (all []predicate, err error) {
	if len(g.AttributeConstraints) == 0 {
		return nil, wrong("'OfferConstraints::RoleConstraints::groups' for role %s contains an empty RoleConstraints::Group", role)
	}
	for _, c := range g.AttributeConstraints {
		p, err := predicateOf(c)
		if err != nil {
			return nil, wrong("A role %s has an invalid 'AttributeConstraint': %v", role, err)
		}
		all = append(all, p)
	}
	return all, nil
}

func attributeOf(m *v1.AttributeConstraintSelector) (attribute, error) {
	switch {
	case m == nil || (m.AttributeName == nil) == (m.PseudoattributeType == nil):
		return nil, wrong("Exactly one of 'AttributeConstraint::Selector::name' or 'AttributeConstraint::Selector::pseudoattribute_type' must be set")
	case m.AttributeName != nil:
		name := *m.AttributeName
		return func(n *api.Node) (string, bool) { v, ok := n.Attrs[name]; return v, ok }, nil
	}
	switch *m.PseudoattributeType {
	case v1.AttributeConstraintSelectorPseudoattributeTypeHostname:
		return func(n *api.Node) (string, bool) { return n.Name, true }, nil
	case v1.AttributeConstraintSelectorPseudoattributeTypeRegion, v1.AttributeConstraintSelectorPseudoattributeTypeZone:
		return func(*api.Node) (string, bool) { return "", false }, nil // no offer has a domain
	}
	return nil, wrong("Unknown pseudoattribute type")
}

func predicateOf(c *v1.AttributeConstraint) (predicate, error) {
	of, err := attributeOf(c.Selector)
	if err != nil {
		return nil, err
	}
	// Where a text is not to be something, it need not be there either.
	text := func(not bool, is func(string) bool) predicate {
		return func(n *api.Node) bool {
			v, ok := of(n)
			return (ok && is(v)) != not
		}
	}
	matches := func(not bool, pattern string) (predicate, error) {
		r, err := expression(pattern)
		if err != nil {
			return nil, err
		}
		return text(not, r.MatchString), nil
	}
	switch p := c.Predicate; {
	case p == nil:
	case p.Exists != nil:
		return text(false, func(string) bool { return true }), nil
	case p.NotExists != nil:
		return text(true, func(string) bool { return true }), nil
	case p.TextEquals != nil:
		return text(false, func(v string) bool { return v == p.TextEquals.Value }), nil
	case p.TextNotEquals != nil:
		return text(true, func(v string) bool { return v == p.TextNotEquals.Value }), nil
	case p.TextMatches != nil:
		return matches(false, p.TextMatches.Regex)
	case p.TextNotMatches != nil:
		return matches(true, p.TextNotMatches.Regex)
	}
	return nil, wrong("Unknown predicate type")
}

// expression matches the whole of a text. What it costs is bounded before it is compiled.
func expression(pattern string) (*regexp.Regexp, error) {
	if len(pattern) > maxPattern {
		return nil, wrong("Failed to construct regex from pattern of %d bytes, and at most %d are allowed", len(pattern), maxPattern)
	}
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, wrong("Failed to construct regex from pattern '%s': %v", pattern, err)
	}
	program, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return nil, wrong("Failed to construct regex from pattern '%s': %v", pattern, err)
	}
	if n := len(program.Inst); n > maxProgram {
		return nil, wrong("Regex '%s' is too complex: program size of %d is larger than maximum of %d allowed", pattern, n, maxProgram)
	}
	return regexp.Compile(`\A(?:` + pattern + `)\z`)
}
