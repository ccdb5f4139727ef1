package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
)

const (
	maxChanges = 24
	maxValue   = 96 // characters of one
)

// changes lists the fields in which two values differ; nil is a value that is
// not there. They are not changed meanwhile.
func changes(before, after any) []api.AuditChange {
	was, is := fields(before), fields(after)
	var out []api.AuditChange
	names := maps.Clone(was)
	maps.Copy(names, is)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if was[name] == is[name] || name == "revision" {
			continue
		}
		if len(out) == maxChanges {
			return append(out, api.AuditChange{Field: fmt.Sprintf("… and others of %d", len(names))})
		}
		out = append(out, api.AuditChange{Field: name, Before: shown(name, was[name]), After: shown(name, is[name])})
	}
	return out
}

// shown is a value as the audit has it.
func shown(name, value string) string {
	if value != "" && (strings.HasPrefix(name, "env.") || strings.Contains(name, ".env.") || strings.Contains(value, `"env":`)) {
		return api.Masked
	}
	return cut(value, maxValue)
}

// cut shortens a text to so many bytes, and never within a character.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// fields are the leaves of a value by their path; what is in a list is one leaf.
func fields(v any) map[string]string {
	out := map[string]string{}
	b, err := json.Marshal(v)
	if err != nil || bytes.Equal(b, []byte("null")) {
		return out
	}
	flatten("", b, out)
	return out
}

func flatten(path string, b json.RawMessage, out map[string]string) {
	var object map[string]json.RawMessage
	if len(b) == 0 || b[0] != '{' || json.Unmarshal(b, &object) != nil {
		out[path] = string(b)
		return
	}
	if path != "" {
		path += "."
	}
	for name, value := range object {
		flatten(path+name, value, out)
	}
}
