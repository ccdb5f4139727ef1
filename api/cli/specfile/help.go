package specfile

import (
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
)

// nouns are what a document may be, with the type that says which keys it has.
var nouns = []struct {
	title, name string
	of          reflect.Type
}{
	{"Jobs", "job", reflect.TypeFor[api.JobSpec]()},
	{"Partitions", "partition", reflect.TypeFor[api.Partition]()},
}

// nameWidth is that of the column of names.
const nameWidth = 18

// Help is the list of all keys that documents have, in lines of at most that width.
func Help(width int) string {
	var b strings.Builder
	b.WriteString("A file holds jobs and partitions, each a document of keys, with --- between two.\n" +
		"Of one key more is said by `mesita help yaml KEY`; the same is a JSON Schema for\neditors, at /v1/schema/job.json of each node.\n")
	for _, n := range nouns {
		fmt.Fprintf(&b, "\n%s", n.title)
		if n.name == kindPartition {
			fmt.Fprintf(&b, ", which have kind: %s", kindPartition)
		}
		b.WriteString(":\n")
		for k := range api.KeysOf(n.of) {
			text := k.About
			if len(k.Kinds) > 0 {
				text = k.Kinds[0].String() + ": " + text
			}
			column(&b, "  "+k.Name, text, width)
		}
		if n.name != kindPartition {
			for _, k := range api.FileKeys() {
				column(&b, "  "+k.Name, k.About, width)
			}
		}
	}
	return b.String()
}

// HelpOn is what is said of one key, such as cpus or restart.delay, in jobs and in
// partitions. Its error is CodeNotFound.
func HelpOn(key string, width int) (string, error) {
	var b strings.Builder
	var all []string
	for _, k := range api.FileKeys() {
		if all = append(all, k.Name); k.Name == key {
			fmt.Fprintf(&b, "%s, of jobs in files\n", key)
			column(&b, "  meaning", k.About, width)
			column(&b, "  type", "text, or a list, each text", width)
			column(&b, "  example", key+": "+k.Example, width)
		}
	}
	for _, n := range nouns {
		k, t, known := find(n.of, key)
		for name := range names(n.of, "") {
			all = append(all, name)
		}
		if !known {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		where := "jobs"
		if n.name == kindPartition {
			where = "partitions"
		} else if len(k.Kinds) > 0 {
			where += " of the kind " + k.Kinds[0].String()
		}
		fmt.Fprintf(&b, "%s, of %s\n", key, where)
		column(&b, "  meaning", k.About, width)
		column(&b, "  type", typeText(t), width)
		if k.Default != "" {
			column(&b, "  default", k.Default, width)
		}
		column(&b, "  example", key[strings.LastIndexByte(key, '.')+1:]+": "+k.Example, width)
		for word, about := range choices(t) {
			column(&b, "  "+word, about, width)
		}
		for sub := range api.KeysOf(element(t)) {
			column(&b, "  ."+sub.Name, sub.About, width)
		}
	}
	if b.Len() == 0 {
		return "", api.Errorf(api.CodeNotFound, "no job and no partition has a key %q: %s", key, hintFor(key, all))
	}
	return b.String(), nil
}

// hintFor is what may be meant by a key that there is not.
func hintFor(key string, all []string) string {
	if i := slices.IndexFunc(all, func(name string) bool { return strings.HasSuffix(name, "."+key) }); i >= 0 {
		return "did you mean " + all[i] + "?"
	}
	if hint := habits[strings.ToLower(key)]; hint != "" {
		return hint
	}
	if near := api.Nearest(key, all); near != "" {
		return "did you mean " + near + "?"
	}
	return "see `mesita help yaml` for all"
}

// column writes a name and, beside it, a text, in lines of at most that width.
func column(b *strings.Builder, name, text string, width int) {
	line := fmt.Sprintf("%-*s", nameWidth, name)
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > width && len(line) > nameWidth {
			b.WriteString(line + "\n")
			line = strings.Repeat(" ", nameWidth)
		}
		line += " " + word
	}
	b.WriteString(line + "\n")
}

// find is the key of a path below a type, and the type of its value.
func find(t reflect.Type, path string) (api.Key, reflect.Type, bool) {
	name, rest, deeper := strings.Cut(path, ".")
	for k, of := range api.KeysOf(t) {
		switch {
		case k.Name != name:
		case !deeper:
			return k, of, true
		default:
			return find(element(of), rest)
		}
	}
	return api.Key{}, nil, false
}

// names are the paths of all keys below a type.
func names(t reflect.Type, below string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for k, of := range api.KeysOf(t) {
			if !yield(below + k.Name) {
				return
			}
			for sub := range names(element(of), below+k.Name+".") {
				if !yield(sub) {
					return
				}
			}
		}
	}
}

// element is the struct that a value is, or is a list of; one without keys if it is none.
func element(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return reflect.TypeFor[struct{}]()
	}
	return t
}

// choices are the words that a value may be, with what they mean.
func choices(t reflect.Type) iter.Seq2[string, string] {
	if c, ok := reflect.Zero(t).Interface().(interface {
		Choices() iter.Seq2[string, string]
	}); ok {
		return c.Choices()
	}
	return func(func(string, string) bool) {}
}

// units are the types that are not what they look like in Go.
var units = map[reflect.Type]string{
	reflect.TypeFor[api.MilliCPU](): "a number of CPUs: 0.25, 2 or 250m",
	reflect.TypeFor[api.CPULimit](): "a number of CPUs: 0.25, 2 or 250m",
	reflect.TypeFor[api.Bytes]():    "an amount: 64MiB, 2GB, or bytes",
	reflect.TypeFor[api.Duration](): "a time: 30s, 5m, 2h, 7d",
	reflect.TypeFor[api.Weight]():   "a number",
	reflect.TypeFor[api.Quantity](): "a number, or text with ranges (1-5) or words ({a,b})",
	reflect.TypeFor[api.Kind]():     api.KindService.String() + " or " + api.KindBatch.String(),
}

func typeText(t reflect.Type) string {
	if text := units[t]; text != "" {
		return text
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeText(t.Elem())
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		if len(slices.Collect(firsts(choices(t)))) > 0 {
			return "one of the words below"
		}
		return "text"
	case reflect.Slice:
		return "a list, each " + typeText(t.Elem())
	case reflect.Map:
		if t == texts {
			return "a map of names, each to text, or a list of NAME=VALUE"
		}
		return "a map of names, each to " + typeText(t.Elem())
	case reflect.Struct:
		if reflect.PointerTo(t).Implements(shortForm) {
			return "text as in the example, or a map of the keys below"
		}
		return "a map of the keys below"
	}
	return "a whole number"
}

var shortForm = reflect.TypeFor[interface{ UnmarshalJSON([]byte) error }]()

func firsts(all iter.Seq2[string, string]) iter.Seq[string] {
	return func(yield func(string) bool) {
		for a := range all {
			if !yield(a) {
				return
			}
		}
	}
}
