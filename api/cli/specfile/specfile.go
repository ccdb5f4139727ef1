// Package specfile reads and writes the YAML documents of `mesita apply` and
// `mesita export`: jobs and partitions, in the field names of the API.
//
// It checks a file by itself and names the line of what is wrong; whether the
// cluster takes it, the cluster says. It is called by api/cli alone.
package specfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/mesita/mesita/api"
	"go.yaml.in/yaml/v3"
)

// MaxSize bounds a file, in bytes.
const MaxSize = 4 << 20

// Stdin is the name of what is read from standard input.
const Stdin = "stdin"

// Docs is what files ask for, each kind in the order of the files.
type Docs struct {
	Jobs       []*api.JobSpec
	Partitions []*api.Partition
	Vars       map[string]string // the values of ${NAME}; nil = such text is left as it is
	// ReadEnv reads a file of NAME=VALUE that envFile names; nil = such keys are refused.
	ReadEnv  func(path string) (map[string]string, error)
	Unfilled string // the first ${NAME} that was left so though that is hardly meant, and where; "" = none

	jobs, partitions []place
	named            map[string]int // jobs by their names
}

// place is where a document is.
type place struct {
	file
	number int // of the document in its file, from 1
	node   *yaml.Node
}

// file is a file of documents. Its errors name the line.
type file struct{ name string }

func (f file) errorf(n *yaml.Node, field, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if field != "" {
		text = field + ": " + text
	}
	return api.FieldErrorf(fmt.Sprintf("%s:%d", f.name, max(n.Line, 1)), "%s", text)
}

// Parse reads and checks all documents of a file of that name, so that nothing
// need be done when one of them is wrong. Its errors are CodeInvalid.
func Parse(name string, b []byte) (*Docs, error) {
	docs := new(Docs)
	if err := docs.Add(name, b); err != nil {
		return nil, err
	}
	return docs, docs.Some(name)
}

// Some fails if there is no document at all in what has that name.
func (docs *Docs) Some(name string) error {
	if len(docs.Jobs)+len(docs.Partitions) == 0 {
		return api.FieldErrorf(name, "holds no job and no partition: see `mesita help yaml`, and `mesita export` for how one looks")
	}
	return nil
}

// Add reads one more file. Its errors are CodeInvalid.
func (docs *Docs) Add(name string, b []byte) error {
	f := file{name}
	for d, number := yaml.NewDecoder(bytes.NewReader(b)), 1; ; number++ {
		var doc yaml.Node
		if err := d.Decode(&doc); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return api.FieldErrorf(name, "is not valid YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
		}
		if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" { // nothing but comments
			continue
		}
		if err := f.add(docs, doc.Content[0], number); err != nil {
			return err
		}
	}
}

// Folder is that of the file in which a job is: what it names is beside it. "" = the
// working folder.
func (docs *Docs) Folder(job int) string {
	if name := docs.jobs[job].name; name != Stdin {
		return filepath.Dir(name)
	}
	return ""
}

// Located says of an error of the cluster about jobs[N] or partitions[N], and maybe a
// field of it, where that is: file, line, document, name and field. Other errors stay
// as they are.
func (docs *Docs) Located(err error) error {
	var e *api.Error
	if !errors.As(err, &e) {
		return err
	}
	noun, rest, _ := strings.Cut(e.Field, "[")
	number, field, _ := strings.Cut(rest, "]")
	i, bad := strconv.Atoi(number)
	var at place
	what := ""
	switch {
	case bad != nil || i < 0:
		return err
	case noun == "jobs" && i < len(docs.jobs):
		at, what = docs.jobs[i], fmt.Sprintf("job %q", docs.Jobs[i].Name)
	case noun == "partitions" && i < len(docs.partitions):
		at, what = docs.partitions[i], fmt.Sprintf("partition %q", docs.Partitions[i].Path)
	default:
		return err
	}
	out := *e
	field = strings.TrimPrefix(field, ".")
	out.Field = fmt.Sprintf("%s:%d: document %d, %s", at.name, max(nodeOf(at.node, field).Line, 1), at.number, what)
	if field != "" {
		out.Message = field + ": " + out.Message
	}
	return &out
}

// kindPartition is what tells a partition from a job, whose kinds are those of
// the API.
const kindPartition = "partition"

func (f file) add(docs *Docs, n *yaml.Node, number int) error {
	if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
		return f.errorf(n, "", "a job is a map of fields, such as name: web")
	}
	if docs.Vars == nil && docs.Unfilled == "" {
		docs.Unfilled = f.unfilled(n, false)
	}
	if docs.Vars != nil {
		left := maxFilled
		if err := f.substitute(n, docs.Vars, &left); err != nil {
			return err
		}
	}
	if err := f.plain(n); err != nil {
		return err
	}
	if key := n.Content[0]; strings.EqualFold(key.Value, "apiVersion") { // its kind, too, means something else
		return f.errorf(key, key.Value, "is unknown: %s", hintFor(key.Value, nil))
	}
	kind := nodeOf(n, "kind")
	if kind.Kind == yaml.ScalarNode && kind.Value != kindPartition && kind.ShortTag() != "!!null" {
		var known api.Kind
		if err := known.UnmarshalText([]byte(kind.Value)); err != nil {
			if api.Nearest(kind.Value, []string{kindPartition}) != "" {
				return f.errorf(kind, "kind", "unknown kind %q: did you mean %s?", kind.Value, kindPartition)
			}
			return f.errorf(kind, "kind", "%s, or %s", err, kindPartition)
		}
	}
	if kind.Kind == yaml.ScalarNode && kind.Value == kindPartition {
		p, err := f.partition(n)
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(docs.Partitions, func(o *api.Partition) bool { return o.Path == p.Path }); i >= 0 {
			return f.errorf(n, "path", "partition %q is %s", p.Path, f.twice(docs.partitions[i]))
		}
		docs.Partitions, docs.partitions = append(docs.Partitions, p), append(docs.partitions, place{f, number, n})
		return nil
	}
	env, err := f.takeEnvFiles(n, docs.ReadEnv)
	if err != nil {
		return err
	}
	s, err := f.job(n, env)
	if err != nil {
		return err
	}
	if i, ok := docs.named[s.Name]; ok {
		return f.errorf(n, "name", "job %q is %s", s.Name, f.twice(docs.jobs[i]))
	}
	if docs.named == nil {
		docs.named = map[string]int{}
	}
	docs.named[s.Name] = len(docs.Jobs)
	docs.Jobs, docs.jobs = append(docs.Jobs, s), append(docs.jobs, place{f, number, n})
	return nil
}

// twice says where the first of two is.
func (f file) twice(first place) string {
	if f == first.file {
		return "in the file twice"
	}
	return fmt.Sprintf("also at %s:%d", first.name, max(first.node.Line, 1))
}

// job turns a document into a spec by way of JSON, so that flags, files and
// the API read values alike.
func (f file) job(n *yaml.Node, env map[string]string) (*api.JobSpec, error) {
	if err := f.loosen(n, reflect.TypeFor[api.JobSpec](), ""); err != nil {
		return nil, err
	}
	if err := f.check(n, reflect.TypeFor[api.JobSpec](), ""); err != nil {
		return nil, err
	}
	s := new(api.JobSpec)
	if err := fromYAML(n, s); err != nil {
		return nil, f.errorf(n, "", "%v", err)
	}
	for name, value := range env {
		if s.Env == nil {
			s.Env = map[string]string{}
		}
		if _, ok := s.Env[name]; !ok {
			s.Env[name] = value
		}
	}
	if s.Name == "" {
		return nil, f.errorf(n, "name", "is missing: apply finds jobs by their names")
	}
	full := *s
	full.Normalize()
	return s, f.located(n, full.Validate())
}

func (f file) partition(n *yaml.Node) (*api.Partition, error) {
	var own []*yaml.Node // without the kind, which is not a field of the noun
	for i := 0; i+1 < len(n.Content); i += 2 {
		switch key := n.Content[i]; key.Value {
		case "kind":
			continue
		case "created", "current", "drain", "version":
			return nil, f.errorf(key, key.Value, "is the cluster's own: leave it out")
		}
		own = append(own, n.Content[i], n.Content[i+1])
	}
	body := *n
	body.Content = own
	if err := f.loosen(&body, reflect.TypeFor[api.Partition](), ""); err != nil {
		return nil, err
	}
	if err := f.check(&body, reflect.TypeFor[api.Partition](), ""); err != nil {
		return nil, err
	}
	p := new(api.Partition)
	if err := fromYAML(&body, p); err != nil {
		return nil, f.errorf(n, "", "%v", err)
	}
	if p.Path == "" {
		return nil, f.errorf(n, "path", "is missing: give the path of the partition, such as ml/train")
	}
	full := *p
	full.Normalize()
	full.Nodes = api.MarkVersions(full.Nodes, nil, true)
	if err := full.Validate(); err != nil {
		return p, f.located(n, err)
	}
	return p, f.located(n, full.CheckZones())
}

// located gives an error about a field the line of that field.
func (f file) located(n *yaml.Node, err error) error {
	var e *api.Error
	if !errors.As(err, &e) {
		return err
	}
	return f.errorf(nodeOf(n, e.Field), e.Field, "%s", e.Message)
}

// plain makes a document ready to be read, and refuses what YAML itself does.
func (f file) plain(n *yaml.Node) error {
	plainDates(n)
	var whole any
	if err := n.Decode(&whole); err != nil { // also refuses keys given twice, and aliases that never end
		return f.errorf(n, "", "%s", strings.ReplaceAll(strings.TrimPrefix(err.Error(), "yaml: unmarshal errors:\n  "), "\n ", ";"))
	}
	return nil
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
func (f file) check(n *yaml.Node, t reflect.Type, field string) error {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
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
	return f.errorf(n, field, "%s", strings.TrimPrefix(err.Error(), ": "))
}

func (f file) checkKeys(n *yaml.Node, t reflect.Type, field string) error {
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
			return f.errorf(key, join(field, key.Value), "is unknown: %s", hintFor(key.Value, append(api.FieldNames(t), fileKeys(t)...)))
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

// nodeOf is the value of a field such as a.b[2].c, or the nearest there is
// above it.
func nodeOf(n *yaml.Node, field string) *yaml.Node {
	key, rest, _ := strings.Cut(field, ".")
	key, index, item := strings.Cut(strings.TrimSuffix(key, "]"), "[")
	for i := 0; i+1 < len(n.Content) && n.Kind == yaml.MappingNode; i += 2 {
		if n.Content[i].Value != key {
			continue
		}
		value := n.Content[i+1]
		if k, err := strconv.Atoi(index); item && err == nil && value.Kind == yaml.SequenceNode && k >= 0 && k < len(value.Content) {
			value = value.Content[k]
		}
		return nodeOf(value, rest)
	}
	return n
}
