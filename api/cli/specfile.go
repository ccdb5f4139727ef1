package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
	"go.yaml.in/yaml/v3"
)

// maxDocument bounds what apply reads.
const maxDocument = 4 << 20

// readSpecs reads and checks all documents of a file, so that nothing is done
// when one of them is wrong.
func (a *app) readSpecs(path string) ([]*api.JobSpec, error) {
	r := a.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, api.FieldErrorf("file", "%v", err)
		}
		defer f.Close()
		r = f
	}
	b, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxDocument {
		return nil, api.FieldErrorf("file", "has more than %s", api.Bytes(maxDocument))
	}
	if path == "-" {
		path = "stdin"
	}
	return parseSpecs(path, b)
}

// specFile is a file of jobs. Its errors name the line.
type specFile struct{ name string }

func (f specFile) errorf(n *yaml.Node, field, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if field != "" {
		text = field + ": " + text
	}
	return api.FieldErrorf(fmt.Sprintf("%s:%d", f.name, max(n.Line, 1)), "%s", text)
}

func parseSpecs(name string, b []byte) ([]*api.JobSpec, error) {
	f := specFile{name}
	var specs []*api.JobSpec
	for d := yaml.NewDecoder(bytes.NewReader(b)); ; {
		var doc yaml.Node
		if err := d.Decode(&doc); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, api.FieldErrorf(name, "is no valid YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
		}
		if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" { // nothing but comments
			continue
		}
		s, err := f.spec(doc.Content[0])
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(specs, func(o *api.JobSpec) bool { return o.Name == s.Name }) {
			return nil, f.errorf(doc.Content[0], "name", "job %q is in the file twice", s.Name)
		}
		specs = append(specs, s)
	}
	if len(specs) == 0 {
		return nil, api.FieldErrorf(name, "holds no job: see `mesita export` for how one looks")
	}
	return specs, nil
}

// spec turns a document into a spec by way of JSON, so that flags, files and
// the API read values alike.
func (f specFile) spec(n *yaml.Node) (*api.JobSpec, error) {
	if n.Kind != yaml.MappingNode {
		return nil, f.errorf(n, "", "a job is a map of fields, such as name: web")
	}
	plainDates(n)
	var whole any
	if err := n.Decode(&whole); err != nil { // also refuses keys given twice, and aliases that never end
		return nil, f.errorf(n, "", "%s", strings.ReplaceAll(strings.TrimPrefix(err.Error(), "yaml: unmarshal errors:\n  "), "\n ", ";"))
	}
	if err := f.check(n, reflect.TypeFor[api.JobSpec](), ""); err != nil {
		return nil, err
	}
	s := new(api.JobSpec)
	if err := fromYAML(n, s); err != nil {
		return nil, f.errorf(n, "", "%v", err)
	}
	if s.Name == "" {
		return nil, f.errorf(n, "name", "is missing: apply finds jobs by their names")
	}
	full := *s
	full.Normalize()
	if err := full.Validate(); err != nil {
		var e *api.Error
		if !errors.As(err, &e) {
			return nil, err
		}
		return nil, f.errorf(nodeOf(n, e.Field), e.Field, "%s", e.Message)
	}
	return s, nil
}

// plainDates makes text of what YAML takes for a date, which no field is.
func plainDates(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!timestamp" {
		n.Tag = "!!str"
	}
	for _, c := range n.Content {
		plainDates(c)
	}
}

// check finds the first key or value that a type does not have.
func (f specFile) check(n *yaml.Node, t reflect.Type, field string) error {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch {
	case n.Kind == yaml.MappingNode && t.Kind() == reflect.Struct:
		return f.checkKeys(n, t, field)
	case n.Kind == yaml.MappingNode && t.Kind() == reflect.Map:
		for i := 0; i < len(n.Content); i += 2 {
			if err := f.check(n.Content[i+1], t.Elem(), join(field, n.Content[i].Value)); err != nil {
				return err
			}
		}
		return nil
	case n.Kind == yaml.SequenceNode && t.Kind() == reflect.Slice:
		for i, c := range n.Content {
			if err := f.check(c, t.Elem(), fmt.Sprintf("%s[%d]", field, i)); err != nil {
				return err
			}
		}
		return nil
	}
	err := fromYAML(n, reflect.New(t).Interface())
	if err == nil {
		return nil
	}
	text := err.Error()
	if t.Kind() == reflect.String && n.Kind == yaml.ScalarNode {
		text = fmt.Sprintf("%s must be text: put it in quotes", n.Value)
	}
	return f.errorf(n, field, "%s", strings.TrimPrefix(text, ": "))
}

func (f specFile) checkKeys(n *yaml.Node, t reflect.Type, field string) error {
	known := map[string]reflect.Type{}
	for _, sf := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(sf.Tag.Get("json"), ","); name != "" {
			known[name] = sf.Type
		}
	}
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		ft, ok := known[key.Value]
		switch {
		case key.ShortTag() == "!!merge":
			continue
		case !ok:
			return f.errorf(key, join(field, key.Value), "%s", api.UnknownField(key.Value, api.FieldNames(t)).Message)
		}
		if err := f.check(value, ft, join(field, key.Value)); err != nil {
			return err
		}
	}
	return nil
}

func join(field, key string) string {
	if field == "" {
		return key
	}
	return field + "." + key
}

func fromYAML(n *yaml.Node, to any) error {
	var v any
	if err := n.Decode(&v); err != nil {
		return err
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return api.DecodeStrict(bytes.NewReader(b), to)
}

// nodeOf is the value of a field, or the nearest there is above it.
func nodeOf(n *yaml.Node, field string) *yaml.Node {
	key, rest, _ := strings.Cut(field, ".")
	for i := 0; i+1 < len(n.Content) && n.Kind == yaml.MappingNode; i += 2 {
		if n.Content[i].Value == key {
			return nodeOf(n.Content[i+1], rest)
		}
	}
	return n
}

// printSpec writes a spec as parseSpecs reads it, with amounts as people do.
func printSpec(w io.Writer, s *api.JobSpec) error {
	n, err := yamlOf(s)
	if err != nil {
		return err
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i].Value, n.Content[i+1]
		if value.Kind == yaml.MappingNode && len(value.Content) == 0 { // a struct that has nothing set
			n.Content = slices.Delete(n.Content, i, i+2)
			i -= 2
			continue
		}
		if key != "mem" && key != "disk" && key != "logMax" {
			continue
		}
		exact, err := api.ParseBytes(value.Value)
		if err != nil {
			return err
		}
		if short, err := api.ParseBytes(exact.String()); err == nil && short == exact {
			value.Tag, value.Value = "!!str", exact.String()
		}
	}
	return writeYAML(w, n)
}
