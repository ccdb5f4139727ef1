// Package conform holds what an HTTP server answers against its OpenAPI document. It
// is for tests: theirs call it, and no program. It owns what of the document it
// understands, which is what openapi writes; JSON Schema is another's.
package conform

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Checker holds answers against one document. It may be used by several at once.
type Checker struct {
	mux        *http.ServeMux // finds the operation of a request
	operations map[string]operation
	mu         sync.Mutex
	compiler   *jsonschema.Compiler
	schemas    map[string]*jsonschema.Schema // by their places in the document
	seen       map[string]bool               // answers, as Unseen names them
}

type operation struct {
	method, path string
	RequestBody  struct{ Content map[string]any }
	Responses    map[string]response
}

type response struct {
	Ref     string `json:"$ref"`
	Content map[string]any
	Headers map[string]struct{ Required bool }
}

// The document is held twice: with nothing beside what it says, and for rows of which
// only some fields were asked for.
const (
	strict = "mesita:strict"
	some   = "mesita:some"
)

// New reads a document.
func New(doc []byte) (*Checker, error) {
	var d struct {
		Paths map[string]map[string]operation
	}
	if err := json.Unmarshal(doc, &d); err != nil {
		return nil, fmt.Errorf("the document: %w", err)
	}
	c := &Checker{mux: http.NewServeMux(), operations: map[string]operation{}, compiler: jsonschema.NewCompiler(),
		schemas: map[string]*jsonschema.Schema{}, seen: map[string]bool{}}
	c.compiler.AssertFormat()
	for name, fields := range map[string]bool{strict: false, some: true} {
		copied, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
		if err != nil {
			return nil, fmt.Errorf("the document: %w", err)
		}
		tighten(copied, fields)
		if err := c.compiler.AddResource(name, copied); err != nil {
			return nil, fmt.Errorf("the document: %w", err)
		}
	}
	for path, methods := range d.Paths {
		for method, op := range methods {
			op.method, op.path = method, path
			pattern := strings.ToUpper(method) + " " + path
			switch {
			case path == "/":
				pattern += "{$}"
			case strings.HasSuffix(path, "{path}"):
				pattern = strings.Replace(pattern, "{path}", "{path...}", 1)
			}
			c.operations[pattern] = op
			c.mux.Handle(pattern, http.NotFoundHandler())
		}
	}
	return c, nil
}

// tighten refuses what objects have beside what is described, which other clients must
// take: it is of a later version. With fields they need not have all.
func tighten(v any, fields bool) {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v["properties"].(map[string]any); ok && v["additionalProperties"] == nil {
			v["additionalProperties"] = false
		}
		if _, ok := v["required"].([]any); ok && fields {
			delete(v, "required")
		}
		for _, in := range v {
			tighten(in, fields)
		}
	case []any:
		for _, in := range v {
			tighten(in, fields)
		}
	}
}

// Answer is what a request was answered. The bodies may be nil: of what is not JSON,
// or too large to look at.
type Answer struct {
	Request *http.Request
	Asked   []byte // its body
	Status  int
	Header  http.Header
	Body    []byte
}

// Check says in what an answer differs from the document.
func (c *Checker) Check(a *Answer) error {
	_, pattern := c.mux.Handler(a.Request)
	op, ok := c.operations[pattern]
	if !ok || !strings.HasPrefix(pattern, a.Request.Method+" ") {
		if a.Status < 400 {
			return fmt.Errorf("%s %s: %d, and it is not in the document", a.Request.Method, a.Request.URL.Path, a.Status)
		}
		return c.content(a, "#/components/responses/failure", map[string]any{"application/json": nil})
	}
	if err := c.answer(a, op); err != nil {
		return fmt.Errorf("%s: %d: %w\n%.2000s", pattern, a.Status, err, a.Body)
	}
	if op.RequestBody.Content["application/json"] != nil && len(a.Asked) > 0 && a.Status < 300 {
		if err := c.valid(a.Asked, strict, place(op, "requestBody", "content", "application/json", "schema")); err != nil {
			return fmt.Errorf("%s: was accepted: %w\n%.2000s", pattern, err, a.Asked)
		}
	}
	return nil
}

func place(op operation, parts ...string) string {
	out := "#/paths"
	for _, p := range append([]string{op.path, op.method}, parts...) {
		p = strings.ReplaceAll(strings.ReplaceAll(p, "~", "~0"), "/", "~1")
		out += "/" + strings.NewReplacer("{", "%7B", "}", "%7D").Replace(p)
	}
	return out
}

func (c *Checker) answer(a *Answer, op operation) error {
	status := strconv.Itoa(a.Status)
	r, ok := op.Responses[status]
	at := place(op, "responses", status)
	if !ok {
		if a.Status < 400 {
			return fmt.Errorf("is not a documented status")
		}
		if r, ok = op.Responses["default"]; !ok {
			return fmt.Errorf("no failure is documented")
		}
	}
	if r.Ref != "" {
		at, r.Content = r.Ref, map[string]any{"application/json": nil}
	}
	for name, h := range r.Headers {
		if h.Required && a.Header.Get(name) == "" {
			return fmt.Errorf("has no %s", name)
		}
	}
	for name := range a.Header {
		_, known := r.Headers[name]
		_, alias := r.Headers[map[string]string{"Etag": "ETag"}[name]]
		if strings.HasPrefix(name, "X-Mesita-") && !known && !alias && r.Ref == "" {
			return fmt.Errorf("has %s, which is not documented", name)
		}
	}
	return c.content(a, at, r.Content)
}

// content checks the body of an answer whose description is at that place.
func (c *Checker) content(a *Answer, at string, types map[string]any) error {
	kind, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type"))
	_, known := types[kind]
	switch {
	case a.Request.Method == http.MethodHead, len(types) == 0:
		if len(a.Body) > 0 {
			return fmt.Errorf("has a body")
		}
		c.saw(a, "")
		return nil
	case !known:
		return fmt.Errorf("is of type %q, not %v", kind, slices.Sorted(maps.Keys(types)))
	}
	c.saw(a, kind)
	at += "/content/" + strings.ReplaceAll(kind, "/", "~1") + "/schema"
	doc := strict
	if a.Request.URL.Query().Has("fields") {
		doc = some
	}
	switch kind {
	case "application/json":
		if a.Body == nil {
			return nil
		}
		return c.valid(a.Body, doc, at)
	case "application/x-ndjson", "text/event-stream":
		for row := range bytes.Lines(a.Body) {
			if kind == "text/event-stream" {
				var data bool
				if row, data = bytes.CutPrefix(row, []byte("data: ")); !data {
					continue
				}
			}
			if len(row) == 1 || !bytes.HasSuffix(row, []byte("\n")) { // a sign of life, or cut
				continue
			}
			if err := c.valid(row, doc, at); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Checker) valid(body []byte, doc, at string) error {
	s, err := c.schema(doc + at)
	if err != nil {
		return err
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("is not JSON: %w", err)
	}
	return s.Validate(v)
}

func (c *Checker) schema(at string) (*jsonschema.Schema, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.schemas[at]; s != nil {
		return s, nil
	}
	s, err := c.compiler.Compile(at)
	if err != nil {
		return nil, err
	}
	c.schemas[at] = s
	return s, nil
}

func (c *Checker) saw(a *Answer, kind string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, pattern := c.mux.Handler(a.Request)
	c.seen[name(pattern, strconv.Itoa(a.Status), kind)] = true
}

func name(pattern, status, kind string) string {
	return strings.TrimSpace(cmp.Or(pattern, "nothing") + " " + status + " " + kind)
}

// Unseen are the documented answers, failures aside, that no Check was about.
func (c *Checker) Unseen() (out []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for pattern, op := range c.operations {
		for status, r := range op.Responses {
			if r.Ref != "" {
				continue
			}
			kinds := slices.Sorted(maps.Keys(r.Content))
			if kinds == nil || strings.HasPrefix(pattern, http.MethodHead) {
				kinds = []string{""}
			}
			for _, kind := range kinds {
				if n := name(pattern, status, kind); !c.seen[n] {
					out = append(out, n)
				}
			}
		}
	}
	slices.Sort(out)
	return out
}
