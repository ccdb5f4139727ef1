package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// FieldChange is one field that a change gives another value.
type FieldChange struct {
	Field string `json:"field"`          // such as mem or restart.delay
	From  string `json:"from,omitempty"` // "" = it was not set
	To    string `json:"to,omitempty"`   // "" = it is not set any more
}

func (c FieldChange) String() string {
	from, to := c.From, c.To
	if from == "" {
		from = "unset"
	}
	if to == "" {
		to = "unset"
	}
	return c.Field + ": " + from + " → " + to
}

// Differences lists the fields, as they are named in JSON, in which two objects
// differ. Values of an environment are not in it.
func Differences(a, b any) (out []FieldChange) {
	was, is := flat(a), flat(b)
	all := maps.Clone(was)
	maps.Copy(all, is)
	for _, k := range slices.Sorted(maps.Keys(all)) {
		from, to := was[k], is[k]
		if from == to {
			continue
		}
		if strings.HasPrefix(k, "env.") {
			from, to = masked(from), masked(to)
		}
		out = append(out, FieldChange{k, shortened(from), shortened(to)})
	}
	return out
}

func masked(v string) string {
	if v == "" {
		return ""
	}
	return Masked
}

// shortened keeps a plan readable.
func shortened(v string) string {
	const most = 120
	if r := []rune(v); len(r) > most {
		return string(r[:most]) + "…"
	}
	return v
}

// flat is an object as its JSON has it, by path.
func flat(v any) map[string]string {
	b, err := json.Marshal(v)
	var tree map[string]any
	if err == nil {
		err = json.Unmarshal(b, &tree)
	}
	if err != nil {
		panic(fmt.Sprintf("api: %T is not a JSON object: %v", v, err)) // all nouns are
	}
	out := map[string]string{}
	flatten("", tree, out)
	return out
}

func flatten(path string, v any, out map[string]string) {
	switch v := v.(type) {
	case nil:
	case map[string]any:
		for k, x := range v {
			flatten(strings.TrimPrefix(path+"."+k, "."), x, out)
		}
	case float64:
		name := path[strings.LastIndex(path, ".")+1:]
		if slices.Contains([]string{"mem", "disk", "memLimit", "logMax", "defaultMem", "maxMem"}, name) {
			out[path] = Bytes(v).Exact()
			return
		}
		out[path] = strings.TrimSuffix(fmt.Sprintf("%.3f", v), ".000")
	case string:
		out[path] = v
	default:
		b, _ := json.Marshal(v) // it came from JSON
		out[path] = string(b)
	}
}
