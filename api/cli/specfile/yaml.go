package specfile

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// YAML writes the JSON form of v as YAML, in the same order of fields.
func YAML(w io.Writer, v any) error {
	n, err := nodeFor(v)
	if err != nil {
		return err
	}
	return write(w, n)
}

func nodeFor(v any) (*yaml.Node, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	return nextNode(d)
}

func write(w io.Writer, n *yaml.Node) error {
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(n); err != nil {
		return err
	}
	return e.Close()
}

// nextNode turns the next JSON value into YAML.
func nextNode(d *json.Decoder) (*yaml.Node, error) {
	tok, err := d.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := tok.(json.Delim)
	if !ok {
		n := new(yaml.Node)
		if num, ok := tok.(json.Number); ok {
			n.Kind, n.Tag, n.Value = yaml.ScalarNode, "!!float", num.String()
			if !strings.ContainsAny(num.String(), ".eE") {
				n.Tag = "!!int"
			}
			return n, nil
		}
		return n, n.Encode(tok)
	}
	n := &yaml.Node{Kind: yaml.MappingNode}
	if delim == '[' {
		n.Kind = yaml.SequenceNode
	}
	for d.More() {
		child, err := nextNode(d) // of a map: the key, then the value
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, child)
	}
	_, err = d.Token()
	return n, err
}
