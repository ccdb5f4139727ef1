// Package nodefile reads and writes node.yaml: the settings with which a node starts
// where its command line says nothing.
//
// It knows no setting: api/cli says which there are, checks their values, and puts them
// where flags put theirs. It keeps a person's comments and order.
package nodefile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"go.yaml.in/yaml/v3"
)

// maxSize bounds a file.
const maxSize api.Bytes = 256 << 10

// File is a node.yaml. The zero value with a path is an empty one.
type File struct {
	Path string
	Head string // the comment at its top, if it is new
	root *yaml.Node
}

// Read reads the file at a path, in which only those keys may be; nil if there is none.
// Its errors are CodeInvalid, and name the file, the line and the key.
func Read(path string, keys []string) (*File, error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	b, err := option.ReadFile(path, path, maxSize)
	if err != nil {
		return nil, err
	}
	f := &File{Path: path}
	d := yaml.NewDecoder(bytes.NewReader(b))
	var doc, more yaml.Node
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF): // nothing, or nothing but comments
		f.Head = strings.TrimSpace(string(b))
		return f, nil
	case err != nil:
		return nil, api.FieldErrorf(path, "is not valid YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	case !errors.Is(d.Decode(&more), io.EOF):
		return nil, api.FieldErrorf(path, "holds more than one document: keep one")
	}
	if n := doc.Content[0]; n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return f, nil
	} else if n.Kind != yaml.MappingNode {
		return nil, f.errorf(n.Line, "is not a map of settings, such as listen: 10.0.0.11:5050")
	}
	f.root = doc.Content[0]
	f.root.HeadComment = strings.TrimSpace(doc.HeadComment + "\n" + f.root.HeadComment)
	return f, f.check(keys)
}

func (f *File) errorf(line int, format string, args ...any) error {
	return api.FieldErrorf(fmt.Sprintf("%s:%d", f.Path, line), format, args...)
}

func (f *File) check(keys []string) error {
	seen := map[string]bool{}
	for i := 0; i < len(f.root.Content); i += 2 {
		k, v := f.root.Content[i], f.root.Content[i+1]
		switch {
		case !slices.Contains(keys, k.Value):
			if near := api.Nearest(k.Value, keys); near != "" {
				return f.errorf(k.Line, "unknown setting %q: did you mean %s?", k.Value, near)
			}
			return f.errorf(k.Line, "unknown setting %q: there are %s", k.Value, strings.Join(keys, ", "))
		case seen[k.Value]:
			return f.errorf(k.Line, "%s: is there twice: keep one", k.Value)
		case v.Kind == yaml.AliasNode:
			return f.errorf(v.Line, "%s: write the value out: settings have no aliases", k.Value)
		case v.Tag == "!!null":
			return f.errorf(v.Line, "%s: has no value: give one, or remove the line", k.Value)
		}
		for _, item := range v.Content {
			if item.Kind != yaml.ScalarNode {
				return f.errorf(item.Line, "%s: is not a plain value", k.Value)
			}
		}
		seen[k.Value] = true
	}
	return nil
}

// Values are those of a key, and its line, which is 0 if it was set and below if it is
// not there. A map has K=V.
func (f *File) Values(key string) (values []string, line int) {
	i := f.at(key)
	if i < 0 {
		return nil, -1
	}
	switch v := f.root.Content[i+1]; v.Kind {
	case yaml.SequenceNode:
		for _, n := range v.Content {
			values = append(values, n.Value)
		}
		return values, v.Line
	case yaml.MappingNode:
		for j := 0; j+1 < len(v.Content); j += 2 {
			values = append(values, v.Content[j].Value+"="+v.Content[j+1].Value)
		}
		return values, v.Line
	default:
		return []string{v.Value}, v.Line
	}
}

func (f *File) at(key string) int {
	if f == nil || f.root == nil {
		return -1
	}
	for i := 0; i < len(f.root.Content); i += 2 {
		if f.root.Content[i].Value == key {
			return i
		}
	}
	return -1
}

// Set gives a key its values: a list if there may be several.
func (f *File) Set(key string, values []string, several bool) {
	text := func(s string) *yaml.Node {
		n := &yaml.Node{Kind: yaml.ScalarNode, Value: s}
		if n.ShortTag() == "!!null" { // as it is, it would be no value
			n.Style = yaml.DoubleQuotedStyle
		}
		return n
	}
	v := &yaml.Node{Kind: yaml.SequenceNode}
	for _, s := range values {
		v.Content = append(v.Content, text(s))
	}
	if !several {
		v = text(values[len(values)-1])
	}
	if f.root == nil {
		f.root = &yaml.Node{Kind: yaml.MappingNode}
	}
	if i := f.at(key); i >= 0 {
		v.LineComment = f.root.Content[i+1].LineComment
		f.root.Content[i+1] = v
		return
	}
	f.root.Content = append(f.root.Content, text(key), v)
}

// Unset removes a key, and reports whether it was there.
func (f *File) Unset(key string) bool {
	i := f.at(key)
	if i >= 0 {
		f.root.Content = slices.Delete(f.root.Content, i, i+2)
	}
	return i >= 0
}

// Bytes is the file as it is to be written.
func (f *File) Bytes() ([]byte, error) {
	var b bytes.Buffer
	if f.Head != "" {
		b.WriteString(f.Head + "\n")
	}
	if f.root == nil || len(f.root.Content) == 0 {
		if f.root != nil && f.root.HeadComment != "" {
			b.WriteString(f.root.HeadComment + "\n")
		}
		return b.Bytes(), nil
	}
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	err := errors.Join(e.Encode(f.root), e.Close())
	return b.Bytes(), err
}

// Write has the disk hold the new file or the one before, whatever happens meanwhile.
func (f *File) Write() error {
	b, err := f.Bytes()
	if err != nil {
		return err
	}
	tmp := f.Path + ".new"
	file, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(b)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(tmp, f.Path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", f.Path, err), os.Remove(tmp))
	}
	dir, err := os.Open(filepath.Dir(f.Path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
