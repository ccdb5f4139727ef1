package exchange

import (
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
)

// Route is one line of the route table: all that is known of a request before
// it is read.
type Route struct {
	Method  string
	Path    string // with {name} for a path value, {name...} for one that is the rest of the path
	Action  auth.Action
	Scope   auth.Scope
	Nodes   bool // and a node in its own name, though the route is for users
	Between bool // only a node sends it, for a user whose credentials it passes on
	Summary string
	Handle  func(*Call) (any, error)
	Query   []string             // known parameters
	Asks    map[string]string    // headers of requests that it looks at, and what they say
	Body    any                  // an example of what the JSON body decodes into; nil = none
	Answer  any                  // an example of the answer, for the description
	Status  int                  // of Answer; 0 = 200
	Else    []Reply              // what it may answer beside Answer and errors
	Extra   any                  // an example of what a list has beside its rows
	Raw     bool                 // the answer may be had as plain bytes, too
	Local   bool                 // this node answers by itself, leader or not
	Stream  bool                 // may last; counted
	Routine bool                 // nodes do so all the time: what is done is not audited
	Key     func(row any) string // of a list: its order, by which it goes out in pages; nil: whole
	Text    bool                 // its path value is an id that others chose: any text without a slash
	Held    string               // with this parameter it may be held for minutes before it is answered; counted then

	// Of an API of others, whose callers expect what its inventors do.
	Any   bool               // all methods are the handler's
	Basic bool               // credentials may be HTTP's basic ones: see auth.WithBasic
	Lasts func(*Call) bool   // of a Stream: which requests may last, by their body; nil: all
	Fails func(*Call, error) // writes an error; nil: as JSON
	// Changes says which requests are recorded, by their body; nil: all that the method
	// says.
	Changes func(*Call) bool
	Most    int64 // bytes of the body; 0 = MaxBody

	Index int
}

// Reply is another answer of a route, for the description: when, and an example.
type Reply struct {
	Status int // 0 = 200
	Answer any
	About  string
}

// named ends the program if a route does not say what it is for, and of what:
// nobody would know who may.
func named(table []*Route) []*Route {
	for _, r := range table {
		if r.Action == 0 || r.Scope == 0 {
			panic("exchange: " + r.Method + " " + r.Path + " has no action, or no scope")
		}
	}
	return table
}

// Lists reports whether the answer is a list, rather than one that continues.
func (r *Route) Lists() bool {
	t := reflect.TypeOf(r.Answer)
	return r.Method == http.MethodGet && t != nil && t.Kind() == reflect.Slice
}

// OwnNode is the route on which who may see its own node alone sees that.
const OwnNode = "/v1/nodes/{ref}"

// check refuses who may not use the route, whatever it names.
func (r *Route) check(i auth.Identity) error {
	if r.Nodes && i.Role == api.RoleNode {
		return nil
	}
	if r.Method != http.MethodGet || r.Path != OwnNode {
		if err := i.OnlyOwn(); err != nil && r.Action != auth.Nothing {
			return err
		}
	}
	return auth.May(i, r.Action, auth.Object{Anywhere: r.Scope != auth.OfCluster})
}

// maxBody is the size of the largest body that the route takes.
func (r *Route) maxBody() int64 {
	switch {
	case r.Body == BlobBody:
		return api.MaxBlob
	case r.Action == auth.Nothing:
		return maxStranger
	case r.Most > 0:
		return r.Most
	}
	return MaxBody
}

// RawBody marks a route whose handler decodes the body by itself.
var RawBody any = "bytes"

// BlobBody marks a route whose handler reads the raw body by itself.
var BlobBody any = "application/octet-stream"

// routes finds a route: a tree of path segments.
type routes struct {
	root node
}

type node struct {
	fixed   map[string]*node
	any     *node // a path value
	name    string
	rest    bool // the value is all that is left of the path
	text    bool // the value is an id that others chose
	methods map[string]*Route
}

func newRoutes(table []*Route) *routes {
	rs := &routes{}
	for i, r := range table {
		r.Index = i
		n := &rs.root
		for seg := range strings.SplitSeq(strings.Trim(r.Path, "/"), "/") {
			n = n.child(seg)
			n.text = n.text || r.Text && n.name != ""
		}
		if n.methods == nil {
			n.methods = map[string]*Route{}
		}
		method := r.Method
		if r.Any {
			method = ""
		}
		n.methods[method] = r
	}
	return rs
}

func (n *node) child(seg string) *node {
	if strings.HasPrefix(seg, "{") {
		if n.any == nil {
			name, rest := strings.CutSuffix(strings.Trim(seg, "{}"), "...")
			n.any = &node{name: name, rest: rest}
		}
		return n.any
	}
	if n.fixed == nil {
		n.fixed = map[string]*node{}
	}
	if n.fixed[seg] == nil {
		n.fixed[seg] = &node{}
	}
	return n.fixed[seg]
}

// find is the route of a request and its path values.
func (rs *routes) find(r *http.Request, args *[1]string) (*Route, error) {
	path, escaped := r.URL.Path, false
	if r.URL.RawPath != "" { // a value with an escaped slash is one value
		path, escaped = r.URL.RawPath, true
	}
	n, rest := &rs.root, strings.Trim(path, "/")
	for {
		seg, after, more := strings.Cut(rest, "/")
		next := n.fixed[seg]
		if next == nil && n.any != nil {
			next = n.any
			if next.rest {
				seg, more = rest, false
			}
			if escaped {
				var err error
				if seg, err = url.PathUnescape(seg); err != nil {
					return nil, api.FieldErrorf(next.name, "%v", err)
				}
			}
			if err := next.check(seg); err != nil {
				return nil, err
			}
			args[0] = seg
		}
		if next == nil {
			return nil, rs.noPath(r)
		}
		if n, rest = next, after; !more {
			break
		}
	}
	if len(n.methods) == 0 {
		return nil, rs.noPath(r)
	}
	if rt := n.methods[r.Method]; rt != nil {
		return rt, nil
	}
	if rt := n.methods[""]; rt != nil {
		return rt, nil
	}
	allowed := make([]string, 0, len(n.methods))
	for m := range n.methods {
		allowed = append(allowed, m)
	}
	slices.Sort(allowed)
	e := api.FieldErrorf("method", "%s is not possible on %s: use %s", r.Method, r.URL.Path, strings.Join(allowed, ", "))
	e.Allow = strings.Join(allowed, ", ")
	return nil, e
}

func (rs *routes) noPath(r *http.Request) error {
	if list := rs.root.fixed[""]; list == nil || len(list.methods) == 0 {
		return api.Errorf(api.CodeNotFound, "nothing is at %s of this address: `mesita help frameworks` says what is", r.URL.Path)
	}
	return api.Errorf(api.CodeNotFound, "nothing is at %s: / lists what there is", r.URL.Path)
}

// maxPath bounds a path value of several segments.
const maxPath = 512

func (n *node) check(value string) error {
	switch {
	case n.text:
		return checkText(n.name, value)
	case !n.rest:
		return checkRef(n.name, value)
	}
	if len(value) > maxPath {
		return api.FieldErrorf(n.name, "has %d characters: 1 to %d are allowed", len(value), maxPath)
	}
	for seg := range strings.SplitSeq(value, "/") {
		if err := checkRef(n.name, seg); err != nil {
			return err
		}
	}
	return nil
}

// checkRef refuses path values that can name nothing.
func checkRef(name, s string) error {
	if s == "" || len(s) > 128 {
		return api.FieldErrorf(name, "has %d characters: 1 to 128 are allowed", len(s))
	}
	for i := range len(s) {
		b := s[i]
		if (b < 'a' || b > 'z') && (b < 'A' || b > 'Z') && (b < '0' || b > '9') && b != '-' && b != '.' && b != '_' && b != ':' {
			return api.FieldErrorf(name, "%q is not a name or id: it has %q", s, b)
		}
	}
	return nil
}

// checkText refuses ids that no framework may choose.
func checkText(name, s string) error {
	if s == "" || len(s) > api.MaxFrameworkTaskID {
		return api.FieldErrorf(name, "has %d bytes: 1 to %d are allowed", len(s), api.MaxFrameworkTaskID)
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r == '/' || unicode.IsControl(r) }) {
		return api.FieldErrorf(name, "%q is not an id: it has a slash, or what is not text", s)
	}
	return nil
}
