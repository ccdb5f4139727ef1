package specfile

import (
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
	"go.yaml.in/yaml/v3"
)

// This file makes of what people write what is checked: the extensions of other tools go,
// and numbers stand where text does.

// loosen does that below a node whose value is of that type.
func (f file) loosen(n *yaml.Node, t reflect.Type, field string) error {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case n.Kind == yaml.MappingNode && t.Kind() == reflect.Struct:
		return f.loosenKeys(n, t, field)
	case t == texts && n.Kind == yaml.SequenceNode: // as env of Compose
		return f.asMap(n, field)
	case n.Kind == yaml.MappingNode && t.Kind() == reflect.Map:
		for i := 1; i < len(n.Content); i += 2 {
			if err := f.loosen(n.Content[i], t.Elem(), join(field, n.Content[i-1].Value)); err != nil {
				return err
			}
		}
	case n.Kind == yaml.SequenceNode && t.Kind() == reflect.Slice:
		for i, c := range n.Content {
			if err := f.loosen(c, t.Elem(), fmt.Sprintf("%s[%d]", field, i)); err != nil {
				return err
			}
		}
	case n.Kind == yaml.ScalarNode && t == reflect.TypeFor[string]():
		if tag := n.ShortTag(); tag == "!!int" || tag == "!!float" || tag == "!!bool" {
			n.Tag = "!!str" // as it was written
		} else if tag == "!!null" {
			return f.errorf(n, field, "has no value: write \"\" for an empty one")
		}
	}
	return nil
}

var texts = reflect.TypeFor[map[string]string]()

func (f file) loosenKeys(n *yaml.Node, t reflect.Type, field string) error {
	types := map[string]reflect.Type{}
	for k, of := range api.KeysOf(t) {
		types[k.Name] = of
	}
	var kept []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if strings.HasPrefix(key.Value, "x-") {
			continue
		}
		of, at := types[key.Value], join(field, key.Value)
		if key.ShortTag() == "!!merge" {
			of, at = t, field
			if value.Kind == yaml.SequenceNode {
				of = reflect.SliceOf(t)
			}
		}
		if of != nil && value.Kind == yaml.ScalarNode && value.ShortTag() == "!!null" {
			continue // as if it was left out
		}
		if of != nil {
			if err := f.loosen(value, of, at); err != nil {
				return err
			}
		}
		kept = append(kept, key, value)
	}
	n.Content = kept
	return nil
}

// asMap makes a map of a list of NAME=VALUE.
func (f file) asMap(n *yaml.Node, field string) error {
	var pairs []*yaml.Node
	said := map[string]bool{}
	for i, c := range n.Content {
		for c.Kind == yaml.AliasNode {
			c = c.Alias
		}
		name, value, ok := strings.Cut(c.Value, "=")
		switch {
		case c.Kind != yaml.ScalarNode:
			return f.errorf(c, fmt.Sprintf("%s[%d]", field, i), "must be text, such as NAME=VALUE")
		case !ok:
			return f.errorf(c, fmt.Sprintf("%s[%d]", field, i), "%q has no value: write %[1]s=VALUE; nothing is taken from your own environment", name)
		case said[name]:
			return f.errorf(c, fmt.Sprintf("%s[%d]", field, i), "%s is given twice", name)
		}
		said[name] = true
		pairs = append(pairs, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name, Line: c.Line},
			&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value, Line: c.Line})
	}
	n.Kind, n.Tag, n.Content = yaml.MappingNode, "!!map", pairs
	return nil
}

// reference is ${NAME}, or what is like one, with a dollar more before it for itself.
var reference = regexp.MustCompile(`\$?\$\{[^}]*\}?`)

// maxFilled bounds what values with ${NAME} in them come to in a document, in bytes.
const maxFilled = 4 * MaxSize

// substitute puts the values of variables for ${NAME} in all values below a node, as long
// as there is room left. What it makes is a value, and never more YAML.
func (f file) substitute(n *yaml.Node, vars map[string]string, left *int) error {
	if n.Kind == yaml.ScalarNode {
		var bad error
		value := reference.ReplaceAllStringFunc(n.Value, func(ref string) string {
			if strings.HasPrefix(ref, "$$") {
				return ref[1:]
			}
			name, closed := strings.CutSuffix(ref[2:], "}")
			v, ok := vars[name]
			*left -= len(v)
			switch {
			case bad != nil:
			case *left < 0:
				bad = f.errorf(n, "", "the values of variables come to more than %s", api.Bytes(maxFilled))
			case !closed || name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "":
				bad = f.errorf(n, "", "%s is not ${NAME}: write $%[1]s for what a shell is to see", ref)
			case !ok:
				bad = f.errorf(n, "", "%s has no value: give --var %s=VALUE, or write $%[1]s for what a shell is to see", ref, name)
			}
			if bad != nil {
				return ""
			}
			return v
		})
		if bad == nil && value != n.Value {
			if n.Value = value; n.Style == 0 {
				n.Tag = "" // count: ${N} is a number
				if tag := n.ShortTag(); tag != "!!int" && tag != "!!float" && tag != "!!bool" {
					n.Tag = "!!str"
				}
			}
		}
		return bad
	}
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			continue // a key
		}
		if err := f.substitute(c, vars, left); err != nil {
			return err
		}
	}
	return nil
}

// unfilled is the first ${NAME} that stays what it is though hardly anybody means that,
// with where it is; "" = none. What a shell is to see has it in its command.
func (f file) unfilled(n *yaml.Node, command bool) string {
	if n.Kind == yaml.ScalarNode {
		for _, ref := range reference.FindAllString(n.Value, -1) {
			if !command || strings.HasPrefix(ref, "$$") {
				return fmt.Sprintf("%s:%d: %s", f.name, n.Line, ref)
			}
		}
	}
	for i, c := range n.Content {
		inCommand := command || n.Kind == yaml.MappingNode && i%2 == 1 && n.Content[i-1].Value == "command"
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			continue // a key
		}
		if found := f.unfilled(c, inCommand); found != "" {
			return found
		}
	}
	return ""
}

// maxEnvFiles bounds how many files a job may have its environment from.
const maxEnvFiles = 16

// takeEnvFiles takes the key envFile out of a job, and reads the files that it names: the
// last of a name counts.
func (f file) takeEnvFiles(n *yaml.Node, read func(string) (map[string]string, error)) (map[string]string, error) {
	out := map[string]string{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Value != api.FileKeys()[0].Name {
			continue
		}
		files := []*yaml.Node{value}
		if value.Kind == yaml.SequenceNode {
			files = value.Content
		}
		switch {
		case read == nil:
			return nil, f.errorf(value, key.Value, "is not read here: write env")
		case len(files) > maxEnvFiles:
			return nil, f.errorf(value, key.Value, "names %s, at most %d are read", api.Count(len(files), "file"), maxEnvFiles)
		}
		for _, file := range files {
			if file.Kind != yaml.ScalarNode || file.ShortTag() != "!!str" {
				return nil, f.errorf(file, key.Value, "must be the name of a file, or a list of such")
			}
			path := file.Value
			if !filepath.IsAbs(path) && f.name != Stdin {
				path = filepath.Join(filepath.Dir(f.name), path)
			}
			env, err := read(path)
			if err != nil {
				return nil, f.located(n, err)
			}
			maps.Copy(out, env)
		}
		n.Content = slices.Delete(n.Content, i, i+2)
		i -= 2
	}
	return out, nil
}

// fileKeys are the names of the keys that a type has in files alone.
func fileKeys(t reflect.Type) (names []string) {
	if t == reflect.TypeFor[api.JobSpec]() {
		for _, k := range api.FileKeys() {
			names = append(names, k.Name)
		}
	}
	return names
}
