// Package openapi describes an HTTP API in OpenAPI 3.1. It owns how Go types
// become JSON schemas; what is described, and where it is served, is up to
// api/server, which calls it with its route table.
package openapi

import (
	"maps"
	"net/http"
	"reflect"
	"strconv"
	"strings"
)

// Operation is one method on one path. Body and Answer are examples of the
// types that travel as JSON; a nil Body is none, and one of kind string is a
// raw body of no type.
type Operation struct {
	Method, Path, Summary string
	Role                  string // the least that may; "" = anybody
	Query, Header         []Param
	Body                  any
	Reply                 Reply   // if all is well
	Else                  []Reply // what may be answered instead
}

// Reply is one answer of an operation.
type Reply struct {
	Status  int // 0 = 200
	Answer  any // of kind slice: a list
	About   string
	Type    string // of an answer that is not JSON; several, with a comma between, if the caller chooses
	Extra   any    // what a list has beside its rows
	Paged   bool   // a list goes out in pages
	Stream  bool   // the answer is a sequence of JSON values
	Raw     bool   // or plain bytes, if those are accepted
	Headers []Param
}

// Param is a parameter of a query, or a header.
type Param struct {
	Name, About string
	Of          any      // an example of its type; nil = a text
	Words       []string // those that it takes; nil = any
	Many        bool     // it may be given several times
	Always      bool     // a header that each answer has
}

// Common is what all operations have.
type Common struct {
	Error   any     // the JSON of each failure
	About   string  // of it
	Answers []Param // headers of answers
	Fails   []Param // headers of failures, beside those of answers
}

type object = map[string]any

// Describe is the whole document, ready to be encoded as JSON.
func Describe(title, version string, ops []Operation, common Common) map[string]any {
	schemas := object{}
	d := describer{newGenerator(schemas), newGenerator(schemas), common}
	d.asked.written = true
	content := jsonContent(d.answers.schema(reflect.TypeOf(common.Error)))
	failure := object{"description": common.About, "content": content, "headers": d.headers(common.Fails)}
	paths := map[string]object{}
	for _, op := range ops { // what is answered has the plain names
		if paths[op.Path] == nil {
			paths[op.Path] = object{}
		}
		paths[op.Path][strings.ToLower(op.Method)] = d.operation(op)
	}
	for _, op := range ops {
		if body := d.body(op.Body); body != nil {
			paths[op.Path][strings.ToLower(op.Method)].(object)["requestBody"] = body
		}
	}
	return object{
		"openapi": "3.1.0",
		"info":    object{"title": title, "version": version},
		"paths":   paths,
		"components": object{"schemas": schemas, "responses": object{"failure": failure},
			"securitySchemes": object{"token": object{"type": "http", "scheme": "bearer"}}},
	}
}

type describer struct {
	answers, asked *generator
	Common
}

func (d *describer) operation(op Operation) object {
	responses := object{"default": object{"$ref": "#/components/responses/failure"}}
	for _, r := range append([]Reply{op.Reply}, op.Else...) {
		d.add(responses, r)
	}
	out := object{"summary": op.Summary, "operationId": operationID(op), "responses": responses}
	var params []object
	for seg := range strings.SplitSeq(op.Path, "/") {
		if strings.HasPrefix(seg, "{") {
			params = append(params, object{"name": strings.Trim(seg, "{}"), "in": "path", "required": true, "schema": object{"type": "string"}})
		}
	}
	for _, q := range op.Query {
		params = append(params, d.param("query", q))
	}
	for _, h := range op.Header {
		params = append(params, d.param("header", h))
	}
	if params != nil {
		out["parameters"] = params
	}
	out["security"] = []object{} // anybody
	if op.Role != "" {
		out["security"] = []object{{"token": []string{}}}
		out["description"] = "Needs the role " + op.Role + "."
	}
	return out
}

func (d *describer) param(in string, p Param) object {
	s := d.valueOf(p)
	if p.Many {
		s = object{"type": "array", "items": s}
	}
	out := object{"name": p.Name, "in": in, "schema": s}
	if p.About != "" {
		out["description"] = p.About
	}
	return out
}

func (d *describer) valueOf(p Param) object {
	switch {
	case p.Words != nil:
		return object{"type": "string", "enum": p.Words}
	case p.Of == nil:
		return object{"type": "string"}
	}
	return d.answers.schema(reflect.TypeOf(p.Of))
}

func (d *describer) headers(more []Param) object {
	out := object{}
	for _, h := range append(d.Answers[:len(d.Answers):len(d.Answers)], more...) {
		out[h.Name] = object{"description": h.About, "required": h.Always, "schema": d.valueOf(h)}
	}
	return out
}

// add adds an answer to those of an operation; several of one status are either.
func (d *describer) add(responses object, r Reply) {
	if r.Status == 0 {
		r.Status = http.StatusOK
	}
	status, about := strconv.Itoa(r.Status), r.About
	if about == "" {
		about = "done"
	}
	content := d.content(r)
	if before, ok := responses[status].(object); ok {
		before["description"] = before["description"].(string) + "; or " + about
		mine, also := before["content"].(object)["application/json"].(object), content["application/json"].(object)
		mine["schema"] = object{"anyOf": []any{mine["schema"], also["schema"]}}
		return
	}
	out := object{"description": about}
	if r.Status != http.StatusSwitchingProtocols {
		out["headers"] = d.headers(r.Headers)
	}
	if content != nil {
		out["content"] = content
	}
	responses[status] = out
}

func (d *describer) body(of any) object {
	switch {
	case of == nil:
		return nil
	case reflect.TypeOf(of).Kind() == reflect.String:
		return object{"required": true, "content": object{"application/octet-stream": object{}}}
	}
	return object{"content": jsonContent(d.asked.schema(reflect.TypeOf(of)))}
}

func operationID(op Operation) string {
	id := strings.ToLower(op.Method)
	for seg := range strings.SplitSeq(strings.TrimPrefix(op.Path, "/v1"), "/") {
		if seg = strings.Trim(seg, "{}"); seg != "" {
			seg = strings.ReplaceAll(seg, ".", "")
			id += strings.ToUpper(seg[:1]) + seg[1:]
		}
	}
	return id
}

func (d *describer) content(r Reply) object {
	t := reflect.TypeOf(r.Answer)
	switch {
	case r.Type != "":
		out := object{}
		for one := range strings.SplitSeq(r.Type, ", ") {
			out[one] = object{}
		}
		return out
	case t == nil:
		return nil
	case r.Stream && t.Kind() != reflect.Slice:
		out := object{"application/x-ndjson": d.rows(t)}
		if r.Raw {
			out["application/octet-stream"] = object{}
		}
		return out
	case t.Kind() != reflect.Slice:
		return jsonContent(d.answers.schema(t))
	}
	number := object{"type": "integer"}
	properties, required := object{"items": d.answers.schema(t), "index": number, "event": number}, []string{"event", "index", "items"}
	if r.Paged {
		maps.Copy(properties, object{"next": object{"type": "string"}, "total": number})
	}
	if r.Extra != nil {
		more, must := d.answers.properties(reflect.TypeOf(r.Extra))
		maps.Copy(properties, more)
		required = append(required, must...)
	}
	out := jsonContent(object{"type": "object", "properties": properties, "required": required})
	if r.Stream {
		out["text/event-stream"] = d.rows(t.Elem())
	}
	return out
}

// rows are the values of a stream: the last may say why it ends.
func (d *describer) rows(t reflect.Type) object {
	return object{"schema": object{"anyOf": []object{d.answers.schema(t), d.answers.schema(reflect.TypeOf(d.Error))}}}
}

func jsonContent(schema object) object {
	return object{"application/json": object{"schema": schema}}
}
