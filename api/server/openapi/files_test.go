package openapi_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/server/openapi"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// fileSchema is what editors are given, compiled by another's hand.
func fileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	b, err := json.Marshal(openapi.Files("https://mesita.dev/schema/job.json", "a job or a partition", []openapi.Noun{
		{Name: "job", Of: api.JobSpec{}}, {Name: "partition", Of: api.Partition{}, Kind: "partition"},
	}))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("job.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("job.json") // which holds it against the schema of schemas
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(t *testing.T, s *jsonschema.Schema, text string) error {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	in, err := jsonschema.UnmarshalJSON(strings.NewReader(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(in)
}

// The schema takes the example of each key, and nothing that is not a key.
func TestFileSchema(t *testing.T) {
	s := fileSchema(t)
	for head, of := range map[string]any{"name: web\n": api.JobSpec{}, "kind: partition\npath: ml\n": api.Partition{}} {
		for k := range api.KeysOf(reflect.TypeOf(of)) {
			doc := strings.Replace(head, "name: web\n", "", 1) + k.Name + ": " + k.Example + "\n"
			if k.Name == "path" {
				doc = head
			}
			if err := validate(t, s, doc); err != nil {
				t.Errorf("%s\nis refused: %v", doc, err)
			}
		}
	}
	for _, doc := range []string{
		"name: web\ncount: three", "name: web\nreplicas: 3", "name: [web]", "kind: job", "kind: partition\npath: ml\ncount: 3",
		"kind: partition\npath: ml\npolicy: lifo", "name: web\nrestart: always", "name: web\nports: [{nam: http}]", "kind: partition\npath: ml\nlimit: [4]",
	} {
		if validate(t, s, doc) == nil {
			t.Errorf("%q is taken", doc)
		}
	}
	for _, doc := range []string{
		"x-note: 1\nname: web", "name: web\ncpus: 250m\nmem: 67108864\ntime: 90", "name: web\nports: [{name: http, port: 80}]\nconstraints: [{attr: a, op: '=', value: b}]",
		"kind: partition\npath: ml\nlimit: cpus=4,mem=1GiB\nadjust: {hours: [{from: '08:00', to: '09:00', guarantee: {cpus: 1}}]}",
	} {
		if err := validate(t, s, doc); err != nil {
			t.Errorf("%q is refused: %v", doc, err)
		}
	}
}
