package option

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/line"
	"github.com/urfave/cli/v2"
)

// read runs a command line of partition flags on p.
func read(p *api.Partition, args ...string) error {
	root := &cli.App{Commands: []*cli.Command{{Name: "x", Flags: PartitionFlags(), Action: func(c *cli.Context) error { return FillPartition(c, p) }}}}
	l, err := line.Parse(root, append([]string{"x"}, args...))
	if err != nil {
		return err
	}
	return l.Run(context.Background(), root)
}

func TestEveryFieldOfAPartitionHasAFlag(t *testing.T) {
	flags := map[string]bool{}
	for _, f := range PartitionFlags() {
		flags[f.Names()[0]] = true
	}
	fields := api.FieldNames(reflect.TypeFor[api.Partition]())
	for _, sub := range api.FieldNames(reflect.TypeFor[api.Adjust]()) {
		fields = append(fields, "adjust."+sub)
	}
	for _, field := range fields {
		if slices.Contains([]string{"path", "adjust", "current", "drain", "created", "version", "revision"}, field) {
			continue
		}
		if !flags[FlagOf(field)] {
			t.Errorf("the field %s has no flag --%s", field, FlagOf(field))
		}
	}
}

// What is not given stays, none takes away, and what was there is not touched.
func TestOnlyWhatIsGivenChanges(t *testing.T) {
	old := &api.Partition{Path: "ml", Limit: api.Amounts{CPUs: 4000}, Users: []string{"ci"}, Nodes: []api.Constraint{{Attr: "zone", Op: "=", Value: "a"}},
		Adjust: &api.Adjust{Max: api.Amounts{CPUs: 3000}, Hours: []api.Window{{From: "08:00", To: "09:00", Guarantee: api.Amounts{CPUs: 1000}}}}}
	old.Normalize()
	for args, want := range map[string]string{
		"":                               "",
		"--weight 2":                     "weight 1 → 2",
		"--limit none":                   "limit cpus=4 → -",
		"--limit cpus=5,mem=1GiB":        "limit cpus=4 → cpus=5,mem=1GiB",
		"--limit-hard":                   "limit-hard - → yes",
		"--limit-hard=false":             "",
		"--user none":                    "user ci → -",
		"--user ci --user bob":           "user ci → ci, bob",
		"--nodes none":                   "nodes zone=a → -",
		"--hours none":                   "hours 08:00-09:00 cpus=1 → -",
		"--hours none --adjust-max none": "adjust-max cpus=3 → -; hours 08:00-09:00 cpus=1 → -",
		"--adjust-min cpus=0":            "",
		"--adjust-min cpus=0,mem=1GiB":   "adjust-min - → mem=1GiB",
		"--priority -4 --preempt never":  "priority - → -4; preempt kill → never",
		"--half-life 7d":                 "half-life 24h0m0s → 168h0m0s",
		"--weight 1":                     "",
	} {
		p := *old
		if err := read(&p, strings.Fields(args)...); err != nil {
			t.Errorf("%s: %v", args, err)
			continue
		}
		if got := strings.Join(Differences(old, &p), "; "); got != want {
			t.Errorf("%s: %s, want %s", args, got, want)
		}
	}
	if old.Adjust == nil || len(old.Adjust.Hours) != 1 || len(old.Users) != 1 {
		t.Errorf("the old one changed: %+v", old)
	}
	p := *old
	if err := read(&p, "--hours", "none", "--adjust-max", "none"); err != nil || p.Adjust != nil {
		t.Errorf("%+v %v", p.Adjust, err)
	}
}

func TestAmountsOfZeroAreRefused(t *testing.T) {
	for _, text := range []string{"cpus=0", "cpus=1,mem=0", "mem=0GiB", "gpus=0", "licence=0.0"} {
		err := read(new(api.Partition), "--limit", text)
		if api.ErrorCode(err) != api.CodeInvalid || !strings.Contains(err.Error(), "limit: ") || !strings.Contains(err.Error(), "zero") {
			t.Errorf("%s: %v", text, err)
		}
	}
	if err := read(new(api.Partition), "--limit", "cpus=10,mem=1GiB,licence=2"); err != nil {
		t.Error(err)
	}
}
