package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/urfave/cli/v2"
	"go.yaml.in/yaml/v3"
)

// maxDocument bounds what apply reads.
const maxDocument = 4 << 20

func (a *app) applyCommand() *cli.Command {
	return &cli.Command{
		Name: "apply", Usage: "make jobs be as a YAML file says", Description: example("mesita apply -f web.yaml", "mesita apply -f - --dry-run < jobs.yaml"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Required: true, Usage: "`FILE` of one or more documents, or - for standard input"},
			&cli.BoolFlag{Name: "dry-run", Usage: "say what would be done, and do nothing"},
			&cli.BoolFlag{Name: "no-upload", Usage: "do not upload local programs"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print ids only"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "table", Usage: "`FORMAT` of the result: table, json or yaml"},
		},
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 0, "apply -f FILE"); err != nil {
				return err
			}
			specs, err := a.readSpecs(c.String("file"))
			if err != nil {
				return err
			}
			return a.apply(c, specs)
		},
	}
}

func (a *app) apply(c *cli.Context, specs []*api.JobSpec) error {
	cl, err := a.client(c)
	if err != nil {
		return err
	}
	for _, s := range specs {
		if c.Bool("dry-run") {
			if err := a.plan(c, cl, s); err != nil {
				return err
			}
			continue
		}
		if s.Program == "" {
			if err := a.upload(c, cl, s); err != nil {
				return err
			}
		}
		j, err := cl.Apply(c.Context, s)
		if err != nil {
			return api.InField(s.Name, err)
		}
		if err := a.printJob(c, j); err != nil {
			return err
		}
	}
	return nil
}

// readSpecs reads and checks all documents of a file, so that nothing is done
// when one of them is wrong.
func (a *app) readSpecs(path string) ([]*api.JobSpec, error) {
	r := a.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, api.FieldErrorf("file", "%v", err)
		}
		defer f.Close()
		r = f
	}
	b, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxDocument {
		return nil, api.FieldErrorf("file", "has more than %s", api.Bytes(maxDocument))
	}
	specs, err := parseSpecs(b)
	if err != nil {
		return nil, api.InField(path, err)
	}
	return specs, nil
}

func parseSpecs(b []byte) ([]*api.JobSpec, error) {
	var specs []*api.JobSpec
	for d := yaml.NewDecoder(bytes.NewReader(b)); ; {
		var doc yaml.Node
		if err := d.Decode(&doc); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, api.Errorf(api.CodeInvalid, "no valid YAML: %v", err)
		}
		s, err := specOf(&doc)
		if err != nil {
			return nil, err
		}
		specs = append(specs, s)
	}
	if len(specs) == 0 {
		return nil, api.Errorf(api.CodeInvalid, "holds no job")
	}
	return specs, nil
}

// specOf turns a document into a spec by way of JSON, so that flags, files and
// API read values alike. Errors name the line.
func specOf(doc *yaml.Node) (*api.JobSpec, error) {
	n := doc
	if n.Kind == yaml.DocumentNode && len(n.Content) == 1 {
		n = n.Content[0]
	}
	if n.Kind != yaml.MappingNode {
		return nil, api.Errorf(api.CodeInvalid, "line %d: a job is a map of fields, such as name: web", n.Line)
	}
	known := api.FieldNames(reflect.TypeFor[api.JobSpec]())
	for i := 0; i < len(n.Content); i += 2 {
		key := n.Content[i]
		if indexOf(known, key.Value) < 0 {
			e := api.UnknownField(key.Value, known)
			e.Message = fmt.Sprintf("%s (line %d)", e.Message, key.Line)
			return nil, e
		}
		if err := checkField(key, n.Content[i+1]); err != nil {
			return nil, err
		}
	}
	s := new(api.JobSpec)
	if err := decodeNode(n, s); err != nil {
		return nil, api.InField("", fmt.Errorf("line %d: %w", n.Line, err))
	}
	full := *s
	full.Normalize()
	if err := full.Validate(); err != nil {
		return nil, atLine(n, err)
	}
	if s.Name == "" {
		return nil, api.FieldErrorf("name", "is missing (line %d): apply finds jobs by their names", n.Line)
	}
	return s, nil
}

// checkField decodes one field on its own, to know its line if it is wrong.
func checkField(key, value *yaml.Node) error {
	one := &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{key, value}}
	if err := decodeNode(one, new(api.JobSpec)); err != nil {
		var e *api.Error
		if errors.As(err, &e) {
			at := *e
			at.Message = fmt.Sprintf("%s (line %d)", e.Message, value.Line)
			if at.Field == "" {
				at.Field = key.Value
			}
			return &at
		}
		return api.FieldErrorf(key.Value, "%v (line %d)", err, value.Line)
	}
	return nil
}

func decodeNode(n *yaml.Node, s *api.JobSpec) error {
	var v any
	if err := n.Decode(&v); err != nil {
		return err
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return api.DecodeStrict(bytes.NewReader(b), s)
}

// atLine adds the line of the field that an error names.
func atLine(n *yaml.Node, err error) error {
	var e *api.Error
	if !errors.As(err, &e) {
		return err
	}
	field, _, _ := strings.Cut(e.Field, ".")
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == field {
			at := *e
			at.Message = fmt.Sprintf("%s (line %d)", e.Message, n.Content[i].Line)
			return &at
		}
	}
	return err
}

func (a *app) exportCommand() *cli.Command {
	return &cli.Command{
		Name: "export", Usage: "print jobs as YAML that apply takes", ArgsUsage: "[JOB…]", Description: example("mesita export web > web.yaml", "mesita export --all"),
		Flags: []cli.Flag{&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "all services"}},
		Action: func(c *cli.Context) error {
			if c.Bool("all") == (c.NArg() > 0) {
				return usage("mesita export JOB…, or mesita export --all")
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			var jobs []*api.Job
			for _, id := range c.Args().Slice() {
				j, err := cl.Job(c.Context, id)
				if err != nil {
					return err
				}
				jobs = append(jobs, j)
			}
			if c.Bool("all") {
				list, err := cl.Jobs(c.Context, false)
				if err != nil {
					return err
				}
				for _, j := range list {
					if j.Spec.Kind == api.KindService {
						jobs = append(jobs, j)
					}
				}
			}
			for i, j := range jobs {
				if i > 0 {
					fmt.Fprintln(a.out, "---")
				}
				if err := printYAML(a.out, j.Spec); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
