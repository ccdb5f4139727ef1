package specfile

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// ofCluster are the fields of a partition that its users do not write.
var ofCluster = []string{"revision", "current", "drain", "created", "version"}

// ofFrameworks are the fields of a spec that no file has: see JobSpec.Validate.
var ofFrameworks = []string{"fetch", "check", "health", "tty", "volumes"}

// Whatever may be written is explained, once, with an example that is taken.
func TestEachKeyIsExplained(t *testing.T) {
	for _, n := range nouns {
		said := map[string]int{}
		for name := range names(n.of, "") {
			said[name]++
		}
		for _, name := range fieldsOf(n.of, "") {
			if n := said[name]; n != 1 {
				t.Errorf("%s is explained %d times", name, n)
			}
			delete(said, name)
		}
		for name := range said {
			t.Errorf("%s is explained, and there is no such field", name)
		}
		for name := range names(n.of, "") {
			k, _, _ := find(n.of, name)
			for _, doc := range examples(n.name, n.of, name, k) {
				if _, err := Parse("f.yaml", []byte(doc)); err != nil {
					t.Errorf("the example of %s: %v\n%s", name, err, doc)
				}
			}
			if strings.HasSuffix(k.About, ".") || strings.Contains(k.About+k.Default+k.Example, "\n") {
				t.Errorf("%s: %q is not one phrase", name, k.About)
			}
		}
	}
}

// fieldsOf are the JSON fields of a type, and those of structs in it that say what they are.
func fieldsOf(of reflect.Type, below string) (out []string) {
	for _, f := range reflect.VisibleFields(of) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" || !f.IsExported() || of == reflect.TypeFor[api.Partition]() && slices.Contains(ofCluster, name) ||
			of == reflect.TypeFor[api.JobSpec]() && slices.Contains(ofFrameworks, name) {
			continue
		}
		out = append(out, below+name)
		if in := element(f.Type); in.NumField() > 0 && in != reflect.TypeFor[api.Quantity]() {
			out = append(out, fieldsOf(in, below+name+".")...)
		}
	}
	return out
}

// examples are documents that have a key with the value of its example.
func examples(noun string, of reflect.Type, name string, k api.Key) (out []string) {
	kinds := k.Kinds
	if top, _, deeper := strings.Cut(name, "."); deeper {
		parent, _, _ := find(of, top)
		kinds = parent.Kinds
	}
	head := "kind: partition\npath: ml\n"
	if noun == "job" {
		head = "name: web\ncommand: [/bin/true]\n"
		if len(kinds) > 0 {
			head += "kind: " + kinds[0].String() + "\n"
		}
	}
	if key := name + ": "; strings.Contains(head, key) {
		return []string{lineOut(head, key) + key + k.Example + "\n"}
	}
	switch name {
	case "memLimit", "pin":
		head += "cpus: 2\nmem: 128MiB\n"
	case "limitHard":
		head += "limit: {cpus: 4}\n"
	}
	top, _, deeper := strings.Cut(name, ".")
	if !deeper {
		return []string{head + name + ": " + k.Example + "\n"}
	}
	return []string{head + top + ": " + nested(of, top) + "\n"}
}

func lineOut(text, key string) (out string) {
	for l := range strings.Lines(text) {
		if !strings.HasPrefix(l, key) {
			out += l
		}
	}
	return out
}

// nested is a value of a key with all that is in it, each as in its example.
func nested(of reflect.Type, top string) string {
	_, t, _ := find(of, top)
	var parts []string
	for k, in := range api.KeysOf(element(t)) {
		value := k.Example
		if e := element(in); e.NumField() > 0 && strings.HasPrefix(value, "[]") {
			value = nested(element(t), k.Name)
		}
		parts = append(parts, k.Name+": "+value)
	}
	value := "{" + strings.Join(parts, ", ") + "}"
	if t.Kind() == reflect.Slice {
		value = "[" + value + "]"
	}
	return value
}

// What other products call it leads to what it is called here.
func TestHabits(t *testing.T) {
	for key, hint := range habits {
		if key != strings.ToLower(key) {
			t.Errorf("%q would never be found", key)
		}
		name, meant := strings.CutPrefix(hint, "did you mean ")
		if name = strings.TrimSuffix(name, "?"); !meant {
			continue
		}
		if _, err := HelpOn(name, 80); err != nil {
			t.Errorf("%s leads to %s, which there is not", key, name)
		}
	}
	for in, want := range map[string]string{"replicas: 3": "did you mean count?", "Memory: 1": "did you mean mem?", "comand: [a]": "did you mean command?", "zzzzzzzz: 1": "`mesita help yaml`"} {
		_, err := Parse("f.yaml", []byte("name: web\n"+in+"\n"))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "f.yaml:2") {
			t.Errorf("%s: %v, want line 2 and %q", in, err, want)
		}
	}
}
