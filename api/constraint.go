package api

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Constraint is a condition on a node attribute ("node.name" is the name).
type Constraint struct {
	Extra
	Attr  string `json:"attr"`
	Op    string `json:"op"`
	Value string `json:"value"`
	// ByVersion is of a comparison that the cluster found to be one of versions. Those
	// from before level 10 lack it, and compare decimals.
	ByVersion bool `json:"byVersion,omitempty"`
}

// Keys says what the fields are, in their order.
func (Constraint) Keys() []Key {
	return []Key{
		key("attr", "attribute of the node; node.name is its name", "", "disk"),
		key("op", "how it compares: = != < <= > >=", "", "="),
		key("value", "with what it compares: any text for = and !=, else a number or a version", "", "ssd"),
		key("byVersion", "part by part, so that 1.10 is above 1.9; the cluster sets it where the value reads as a version", "", "true"),
	}
}

// Affinity asks for the same node as another job's tasks, or for one of the
// same attribute, or for another one.
type Affinity struct {
	Extra
	Job  string `json:"job"`
	Attr string `json:"attr,omitempty"`
	Away bool   `json:"away,omitempty"`
	Soft bool   `json:"soft,omitempty"`
}

// Keys says what the fields are, in their order.
func (Affinity) Keys() []Key {
	return []Key{
		key("job", "the other job", "", "db"),
		key("attr", "attribute in which the nodes have to agree", "the node itself", "zone"),
		key("away", "not where that job is", "false", "true"),
		key("soft", "only if it can be had", "false", "true"),
	}
}

func (t *TaskSpec) validatePlace() error {
	if err := validateConstraints("constraints", t.Constraints); err != nil {
		return err
	}
	if err := validateConstraints("prefer", t.Prefer); err != nil {
		return err
	}
	if len(t.Affinity) > 16 {
		return FieldErrorf("affinity", "has %d entries, at most 16 are allowed", len(t.Affinity))
	}
	for _, a := range t.Affinity {
		if err := ValidateName("affinity", a.Job); err != nil {
			return err
		}
	}
	if t.Spread != "" {
		return ValidateAttrs("spread", map[string]string{t.Spread: ""})
	}
	return nil
}

func validateConstraints(field string, cs []Constraint) error {
	if len(cs) > 64 {
		return FieldErrorf(field, "has %d entries, at most 64 are allowed", len(cs))
	}
	for _, c := range cs {
		switch c.Op {
		case "=", "!=":
		case "<", "<=", ">", ">=":
			if _, rest := version(c.Value); c.ByVersion && rest == "" {
				continue
			}
			if _, err := strconv.ParseFloat(c.Value, 64); err != nil {
				return FieldErrorf(field, "%q: %q is neither a number nor a version: write %s%s4 or %[3]s%[4]s6.1; = and != take any text", c, c.Value, c.Attr, c.Op)
			}
		default:
			c.Attr = ""
		}
		if c.Attr == "" {
			return FieldErrorf(field, "%q is not a condition: write attr=value, attr!=value or attr>=number", c)
		}
	}
	return nil
}

// ParseConstraint reads "disk=ssd", "zone!=b" or "kernel>=6.1". After = and != stands any
// text, unless it makes an operator of other languages; behind a space it never does.
func ParseConstraint(s string) (Constraint, error) {
	at := strings.IndexAny(s, "=!<>~")
	if at <= 0 {
		return Constraint{}, FieldErrorf("constraints", "%q is not a condition: write attr=value, attr!=value or attr>=number", s)
	}
	rest := strings.TrimLeft(s[at:], "=!<>~")
	op := s[at : len(s)-len(rest)]
	meant, wrong := otherOps[op]
	equal := ""
	if strings.HasPrefix(op, "=") || strings.HasPrefix(op, "!=") {
		equal = op[:strings.IndexByte(op, '=')+1]
	}
	if home := strings.HasSuffix(op, "~") && strings.HasPrefix(rest, "/"); equal != "" && (!wrong || home) {
		op, rest = equal, s[at+len(equal):]
	} else if wrong || !slices.Contains(ops, op) {
		c := Constraint{Attr: strings.TrimSpace(s[:at]), Op: cmp.Or(meant, "="), Value: strings.TrimSpace(rest)}
		text := fmt.Sprintf("%q: there is no operator %s: write %s, or another of %s", s, op, c, strings.Join(ops, " "))
		if equal != "" {
			text += fmt.Sprintf("; a value that begins with %s stands behind a space: %q", op[len(equal):], s[:at]+equal+" "+s[at+len(equal):])
		}
		return Constraint{}, FieldErrorf("constraints", "%s", text)
	}
	return Constraint{Attr: strings.TrimSpace(s[:at]), Op: op, Value: strings.TrimSpace(rest)}, nil
}

var ops = []string{"=", "!=", "<", "<=", ">", ">="}

// otherOps are what those mean that other languages have.
var otherOps = map[string]string{"~>": ">=", "=>": ">=", "~=": ">=", "=<": "<=", "<>": "!=", "!": "!=", "=!": "!=", "!==": "!=", "<~": "<=",
	"=~": "=", "==": "=", "=>=": ">=", "=<=": "<=", "===": "=", "!~": "!="}

// ParseLabels reads the conditions by which a list is narrowed, given in that
// flag or parameter.
func ParseLabels(field string, texts []string) ([]Constraint, error) {
	var out []Constraint
	for _, s := range texts {
		c, err := ParseConstraint(s)
		var wrong *Error
		if errors.As(err, &wrong) && strings.ContainsAny(s, "=!<>~") {
			return nil, FieldErrorf(field, "%s", wrong.Message)
		}
		if err != nil {
			return nil, FieldErrorf(field, "%q is not a condition: write name=value, name!=value or name>=number", s)
		}
		out = append(out, c)
	}
	out = MarkVersions(out, nil, true)
	return out, validateConstraints(field, out)
}

// MatchAll reports whether a node with that name and those attributes meets all.
func MatchAll(cs []Constraint, name string, attrs map[string]string) bool {
	return !slices.ContainsFunc(cs, func(c Constraint) bool { return !c.Match(name, attrs) })
}

func (c Constraint) String() string { return c.Attr + c.Op + c.Value }

// UnmarshalJSON reads {"attr": …, "op": …, "value": …} or the short form
// "zone!=b".
func (c *Constraint) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		v, err := ParseConstraint(unquote(b))
		*c = v
		return err
	}
	type plain Constraint
	return strictUnmarshal(b, (*plain)(c))
}

// Match reports whether a node with that name and those attributes meets c. An
// attribute that the node lacks equals nothing and is not a number.
func (c Constraint) Match(name string, attrs map[string]string) bool {
	v, ok := attrs[c.Attr]
	if c.Attr == AttrNodeName {
		v, ok = name, true
	}
	switch c.Op {
	case "=":
		return ok && v == c.Value
	case "!=":
		return !ok || v != c.Value
	}
	order, comparable := c.order(v)
	if !comparable {
		return false
	}
	switch c.Op {
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	}
	return order >= 0
}

// Unmet says that a node does not meet c, and of a comparison why.
func (c Constraint) Unmet(name string, attrs map[string]string) string {
	text := "does not meet " + c.String()
	if why := c.incomparable(name, attrs); why != "" {
		text += ": " + why
	}
	return text
}

// incomparable says why c can compare with nothing that a node has; "" if it can.
func (c Constraint) incomparable(name string, attrs map[string]string) string {
	if !c.compares() {
		return ""
	}
	v, ok := attrs[c.Attr]
	if c.Attr == AttrNodeName {
		v, ok = name, true
	}
	if !ok {
		return "it has no " + c.Attr
	}
	if _, ok := c.order(v); ok {
		return ""
	}
	text := "its " + c.Attr + " is " + v
	later := c
	if later.ByVersion = true; !c.ByVersion {
		if _, ok := later.order(v); ok {
			return text + ", and this condition is from before versions compared: write " + c.String() + ".0"
		}
	}
	return text + ", and only numbers and versions compare; = and != take any text"
}

// ParseAffinity reads "db" (with db), "db@zone" (in a zone of db), "!db" (not
// with db); a "~" before it makes it a wish.
func ParseAffinity(s string) (Affinity, error) {
	var a Affinity
	rest, soft := strings.CutPrefix(s, "~")
	rest, away := strings.CutPrefix(rest, "!")
	a.Soft, a.Away = soft, away
	a.Job, a.Attr, _ = strings.Cut(rest, "@")
	return a, ValidateName("affinity", a.Job)
}

func (a Affinity) String() string {
	s := a.Job
	if a.Attr != "" {
		s += "@" + a.Attr
	}
	if a.Away {
		s = "!" + s
	}
	if a.Soft {
		s = "~" + s
	}
	return s
}

// UnmarshalJSON reads {"job": …} or the short form "!db@zone".
func (a *Affinity) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		v, err := ParseAffinity(unquote(b))
		*a = v
		return err
	}
	type plain Affinity
	return strictUnmarshal(b, (*plain)(a))
}
