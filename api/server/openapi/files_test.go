package openapi_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/specfile"
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

// The schema takes the example of each key, and what is in a file or is not to be in one
// exactly if apply does, as far as a schema can say.
func TestFileSchema(t *testing.T) {
	s := fileSchema(t)
	both := func(doc string) {
		t.Helper()
		_, parsed := specfile.Parse("f.yaml", []byte(doc))
		if schema := validate(t, s, doc); (schema == nil) != (parsed == nil) {
			t.Errorf("%s\napply: %v\nthe schema: %v", doc, parsed, schema)
		}
	}
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
		"count: three", "replicas: 3", "x-note: 1", "x_note: 1", "cpus: 250m\nmem: 67108864\nstopGrace: 90", "restart: always", "ports: [{nam: http}]",
		"ports: [{name: http, port: 80}]\nconstraints: [{attr: a, op: '=', value: b}]", "env: {A: 1, B: true, C: x}", "env: [A=1]", "env: [A]", "env: {A: [1]}", "env: {A: }",
		"labels: {tier: 2}", "dir: [7]", "user: 7", "partition:\nenv:\ncount:\nports:\nkind:", "kind: 3",
		"restart: {delay: 1s, x-why: 2}", "restart: {d: 1s}", "gpus: 1.5", "pin: maybe", "ulimits: [{name: core, soft: 0, hard: 0}]", "custom: {a: 1, b: [x, y], c: 1-5}",
	} {
		both("name: web\ncommand: [a]\n" + doc)
	}
	both("name: web\ncommand: [a, 60, 1.5, true]")
	both("name: web\ncommand: a")
	for _, doc := range []string{
		"count: 3", "policy: lifo", "policy: fair\nplacement: pack", "limit: [4]", "limit: {cpus: 4, mem: 1GiB}", "limit: {cpu: 4}", "x-a: {}", "users: ann", "users: [ann, 7]",
		"limit: cpus=4,mem=1GiB\nadjust: {hours: [{from: '08:00', to: '09:00', guarantee: {cpus: 1}}]}", "weight: '2'", "weight:", "current: {cpus: 1}",
	} {
		both("kind: partition\npath: ml\n" + doc)
	}
}

// What is said of a key is said once in each description, however deep its struct is in
// others.
func TestDescriptionsSayItOnce(t *testing.T) {
	doc := openapi.Describe("mesita", "1", []openapi.Operation{
		{Method: "GET", Path: "/v1/jobs", Reply: openapi.Reply{Answer: []api.Job{}}},
		{Method: "GET", Path: "/v1/p", Reply: openapi.Reply{Answer: api.Partition{}}},
	}, openapi.Common{Error: api.Error{}})
	b, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, of := range []any{api.JobSpec{}, api.Partition{}} {
		for k := range api.KeysOf(reflect.TypeOf(of)) {
			for text := range strings.SplitSeq(string(b), `"description":"`) {
				text, _, _ = strings.Cut(text, `"`)
				switch strings.Count(text, k.About) {
				case 0:
				case 1:
					found++
				default:
					t.Errorf("%s: %q", k.Name, text)
				}
			}
		}
	}
	if found < 60 {
		t.Errorf("only %d descriptions", found)
	}
}
