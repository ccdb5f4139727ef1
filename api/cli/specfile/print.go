package specfile

import (
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
	"go.yaml.in/yaml/v3"
)

// Print writes a job or a partition as Parse reads it, with amounts as people
// write them.
func Print(w io.Writer, v any) error { return PrintNoted(w, v, "", nil) }

// PrintNoted is Print with a comment before the document, and others behind the values of
// fields.
func PrintNoted(w io.Writer, v any, head string, notes map[string]string) error {
	switch noun := v.(type) {
	case *api.Partition:
		asked := *noun.Asked()
		asked.Nodes = unmarked(asked.Nodes)
		v = &asked
	case *api.JobSpec:
		spec := *noun
		spec.Constraints, spec.Prefer = unmarked(spec.Constraints), unmarked(spec.Prefer)
		v = &spec
	}
	n, err := nodeFor(v)
	if err != nil {
		return err
	}
	if _, ok := v.(*api.Partition); ok {
		kind := []*yaml.Node{{Kind: yaml.ScalarNode, Value: "kind"}, {Kind: yaml.ScalarNode, Value: kindPartition}}
		n.Content = append(kind, n.Content...)
	}
	n.Content = slices.Clip(n.Content)
	if err := readable(n, amountKeys(reflect.TypeOf(v))); err != nil {
		return err
	}
	n.HeadComment = head
	for field, note := range notes {
		key, rest, _ := strings.Cut(field, ".")
		if at := valueOf(valueOf(n, key), rest); at != nil {
			at.LineComment = note
		}
	}
	return write(w, n)
}

// valueOf is the value of a key of a map, nil if there is none; of no key, the map.
func valueOf(n *yaml.Node, key string) *yaml.Node {
	for i := 0; n != nil && key != ""; i += 2 {
		if i+1 >= len(n.Content) {
			return nil
		}
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return n
}

// unmarked are conditions as people write them: the cluster finds out how they compare.
func unmarked(cs []api.Constraint) []api.Constraint {
	out := slices.Clone(cs)
	for i := range out {
		out[i].ByVersion = false
	}
	return out
}

// amountKeys are the keys of a type, and of what is in it, whose values are bytes.
func amountKeys(t reflect.Type) map[string]bool {
	out := map[string]bool{}
	for k, of := range api.KeysOf(element(t)) {
		if of == reflect.TypeFor[api.Bytes]() {
			out[k.Name] = true
		}
		maps.Copy(out, amountKeys(of))
	}
	return out
}

// readable leaves out structs that have nothing set, and writes numbers of
// bytes with their unit where that loses nothing.
func readable(n *yaml.Node, amounts map[string]bool) error {
	for i := 0; i+1 < len(n.Content) && n.Kind == yaml.MappingNode; i += 2 {
		key, value := n.Content[i].Value, n.Content[i+1]
		if err := readable(value, amounts); err != nil {
			return err
		}
		if value.Kind == yaml.MappingNode && len(value.Content) == 0 {
			n.Content = slices.Delete(n.Content, i, i+2)
			i -= 2
			continue
		}
		if !amounts[key] || value.Tag != "!!int" {
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
	for _, c := range n.Content {
		if n.Kind == yaml.SequenceNode {
			if err := readable(c, amounts); err != nil {
				return err
			}
		}
	}
	return nil
}
