package specfile

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"

	"github.com/mesita/mesita/api"
	"go.yaml.in/yaml/v3"
)

// ParseOne reads the one document of a file of that name into a struct with
// JSON names, and checks it. Its errors are CodeInvalid and name the line.
func ParseOne(name string, b []byte, to any, validate func() error) error {
	f := file{name}
	d := yaml.NewDecoder(bytes.NewReader(b))
	var doc, more yaml.Node
	err := d.Decode(&doc)
	switch {
	case errors.Is(err, io.EOF) || err == nil && (len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode):
		return api.FieldErrorf(name, "is not a map of fields: it needs some of %s", strings.Join(api.FieldNames(reflect.TypeOf(to)), ", "))
	case err != nil:
		return api.FieldErrorf(name, "is not valid YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	case !errors.Is(d.Decode(&more), io.EOF):
		return api.FieldErrorf(name, "holds more than one document: put each into a file of its own")
	}
	n := doc.Content[0]
	if err := f.plain(n); err != nil {
		return err
	}
	if err := f.check(n, reflect.TypeOf(to).Elem(), ""); err != nil {
		return err
	}
	if err := fromYAML(n, to); err != nil {
		return f.errorf(n, "", "%v", err)
	}
	return f.located(n, validate())
}
