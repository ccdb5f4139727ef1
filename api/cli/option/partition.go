package option

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/urfave/cli/v2"
)

// none is how a flag of `partition set` takes a setting away.
const none = "none"

// partitionField is a setting of a partition: its flag, how it is read, and
// how it looks.
type partitionField struct {
	name string
	flag cli.Flag
	fill func(*api.Partition, *Parser)
	text func(*api.Partition) string
}

func partitionFields() []partitionField {
	return slices.Concat([]partitionField{
		amountsField("guarantee", "the least it can always get, `AMOUNTS` such as cpus=4,mem=8GiB; none takes it away", func(p *api.Partition) *api.Amounts { return &p.Guarantee }),
		amountsField("limit", "the most it can ever hold, `AMOUNTS` such as cpus=10; none takes it away", func(p *api.Partition) *api.Amounts { return &p.Limit }),
		{"limit-hard", &cli.BoolFlag{Name: "limit-hard", Usage: "--limit's cpus bound what is used, too, on idle nodes as well; =false: no more"},
			func(p *api.Partition, f *Parser) { p.LimitHard = f.C.Bool("limit-hard") },
			func(p *api.Partition) string {
				if p.LimitHard {
					return "yes"
				}
				return ""
			}},
		numberField("weight", "`NUMBER` by which it shares what comes free (default 1); weights alone never take back", api.ParseWeight, func(p *api.Partition) *api.Weight { return &p.Weight }),
		{"priority", &cli.IntFlag{Name: "priority", Usage: "`NUMBER`: whose guarantee is served first (default 0)"},
			func(p *api.Partition, f *Parser) { p.Priority = f.C.Int("priority") },
			func(p *api.Partition) string {
				if p.Priority == 0 {
					return ""
				}
				return strconv.Itoa(p.Priority)
			}},
		{"nodes", &cli.StringSliceFlag{Name: "nodes", Usage: "only the nodes that meet the `CONDITION`: zone=a, cores>=8; may be repeated; none: all"},
			fillNodes, func(p *api.Partition) string { return joined(p.Nodes) }},
		wordField("policy", "order of its jobs, `NAME`: "+api.Words(api.Names(api.Policies()))+" (default fifo)", func(p *api.Partition) *api.Policy { return &p.Policy }),
		wordField("placement", "how nodes are chosen, `NAME`: "+api.Words(api.Names(api.Placements()))+" (default spread)", func(p *api.Partition) *api.Placement { return &p.Placement }),
		wordField("preempt", "how its tasks are preempted, `NAME`: "+api.Words(api.Names(api.Preempts()))+" (default kill)", func(p *api.Partition) *api.Preempt { return &p.Preempt }),
	}, taskRuleFields(), []partitionField{
		numberField("min-runtime", "`TIME` for which a task that was preempted is left alone (default 1m)", api.ParseSpan, func(p *api.Partition) *api.Duration { return &p.MinRuntime }),
		reading(numberField("max-frozen", "`TIME` that a task stays frozen at most: then it ends, and waits to start again (default 1h)", api.ParseSpan, func(p *api.Partition) *api.Duration { return &p.MaxFrozen }),
			func(p *api.Partition) string { return api.Duration(p.FrozenAtMost()).String() }),
		boundField("notice", "`TIME` before its stop signal at which a task is told that it will be preempted; none", api.ParseSpan, func(p *api.Partition) *api.Duration { return &p.Notice }),
		wordsField("user", "`NAME` of a token that may submit; may be repeated; none: everybody", func(p *api.Partition) *[]string { return &p.Users }),
		wordsField("role", "`ROLE` that may submit: operator or admin; may be repeated; none: everybody", func(p *api.Partition) *[]string { return &p.Roles }),
		{"run-as", &cli.StringFlag{Name: "run-as", Usage: "`USER` that users' tasks run as, here and below; none: as above, or mesita-task"},
			func(p *api.Partition, f *Parser) {
				if p.RunAs = f.C.String("run-as"); p.RunAs == none {
					p.RunAs = ""
				}
			},
			func(p *api.Partition) string { return p.RunAs }},
		{"allow-root", &cli.BoolFlag{Name: "allow-root", Usage: "users' --user may be root or anybody, on nodes started with --allow-root; =false: no more"},
			func(p *api.Partition, f *Parser) { p.AllowRoot = f.C.Bool("allow-root") },
			func(p *api.Partition) string {
				if p.AllowRoot {
					return "yes"
				}
				return ""
			}},
		numberField("half-life", "fair: the `TIME` after which past use counts half (default 24h)", api.ParseSpan, func(p *api.Partition) *api.Duration { return &p.HalfLife }),
		numberField("aging", "the wait that is worth a step of priority, or half the run time, `TIME` (default 10m)", api.ParseSpan, func(p *api.Partition) *api.Duration { return &p.Aging }),
		numberField("alpha", "weighted: `EXPONENT` of a node's weight (default 1)", api.ParseWeight, func(p *api.Partition) *api.Weight { return &p.Alpha }),
		numberField("beta", "weighted: `EXPONENT` of a node's free share (default 1)", api.ParseWeight, func(p *api.Partition) *api.Weight { return &p.Beta }),
		amountsField("adjust-min", "lets the guarantee follow demand or --hours, not below `AMOUNTS`; none", func(p *api.Partition) *api.Amounts { return &adjustOf(p).Min }),
		amountsField("adjust-max", "lets the guarantee follow demand or --hours, not above `AMOUNTS`; none", func(p *api.Partition) *api.Amounts { return &adjustOf(p).Max }),
		{"hours", &cli.StringSliceFlag{Name: "hours", Usage: "a guarantee at some hours, `[DAYS] FROM-TO [ZONE] AMOUNTS`; may be repeated; none"},
			fillHours, func(p *api.Partition) string { return joined(adjustOf(p).Hours) }},
	})
}

// taskRuleFields are what a partition says of one task, and of how many wait.
func taskRuleFields() []partitionField {
	return []partitionField{
		boundField("default-time", "`TIME` of one attempt of a job that names none (default: --max-time, if that is given); none", api.ParseSpan, func(p *api.Partition) *api.Duration { return &p.DefaultTime }),
		boundField("default-cpus", "`CORES` of one task of a job that names none (default 0.1); none", api.ParseCPU, func(p *api.Partition) *api.MilliCPU { return &p.DefaultCPUs }),
		boundField("default-mem", "`BYTES` of one task of a job that names none (default 64MiB); none", api.ParseBytes, func(p *api.Partition) *api.Bytes { return &p.DefaultMem }),
		boundField("max-time", "the longest `TIME` a job may ask for, also below where nothing else is said; no services; none", api.ParseSpan, func(p *api.Partition) *api.Duration { return &p.MaxTime }),
		boundField("max-cpus", "the most `CORES` that one task may ask for, also below where nothing else is said; none", api.ParseCPU, func(p *api.Partition) *api.MilliCPU { return &p.MaxCPUs }),
		boundField("max-mem", "the most `BYTES` that one task may ask for, --mem-limit included, also below likewise; none", api.ParseBytes, func(p *api.Partition) *api.Bytes { return &p.MaxMem }),
		boundField("max-waiting", "the most tasks that may wait, here and below, `NUMBER`: more are refused; none", parseCount, func(p *api.Partition) *int { return &p.MaxWaiting }),
		boundField("max-running", "the most tasks that may run, here and below, `NUMBER`: the others wait; none", parseCount, func(p *api.Partition) *int { return &p.MaxRunning }),
		boundField("max-running-per-user", "the most tasks of one user that may run, here and below, `NUMBER`: the others wait; none", parseCount, func(p *api.Partition) *int { return &p.MaxRunningPerUser }),
	}
}

// adjustOf is where the bounds of a guarantee are. Reading them of a partition
// that has none changes nothing.
func adjustOf(p *api.Partition) *api.Adjust {
	if p.Adjust == nil {
		return new(api.Adjust)
	}
	return p.Adjust
}

// PartitionFlags are those of a command that makes or changes a partition.
func PartitionFlags() []cli.Flag {
	var out []cli.Flag
	for _, f := range partitionFields() {
		out = append(out, f.flag)
	}
	return append(out, ChangeFlags()...)
}

// ChangeFlags are those of a command that changes a partition, or what waits in one.
func ChangeFlags() []cli.Flag {
	return []cli.Flag{
		DryRunFlag(),
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print the path or id only"},
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "table", Usage: "`FORMAT` of the result: table, json or yaml"},
	}
}

// AnySet reports whether a setting of a partition is given.
func AnySet(c *cli.Context) bool {
	for _, f := range partitionFields() {
		if c.IsSet(f.name) {
			return true
		}
	}
	return false
}

// FillPartition changes what flags were given for.
func FillPartition(c *cli.Context, p *api.Partition) error {
	adjust := api.Adjust{}
	if p.Adjust != nil {
		adjust = *p.Adjust
	}
	p.Adjust = &adjust
	f := &Parser{C: c}
	for _, field := range partitionFields() {
		if c.IsSet(field.name) && f.Err == nil {
			field.fill(p, f)
		}
	}
	if adjust.Min.IsZero() && adjust.Max.IsZero() && len(adjust.Hours) == 0 {
		p.Adjust = nil
	}
	return f.Err
}

func amountsField(name, use string, at func(*api.Partition) *api.Amounts) partitionField {
	return partitionField{name, &cli.StringFlag{Name: name, Usage: use},
		func(p *api.Partition, f *Parser) {
			text := f.C.String(name)
			if text == none {
				*at(p) = api.Amounts{}
				return
			}
			parse := parseAmounts
			if name == "adjust-min" { // none of something is a minimum
				parse = api.ParseAmounts
			}
			v, err := parse(text)
			if err != nil {
				var e *api.Error
				if errors.As(err, &e) && e.Field != "" {
					err = api.FieldErrorf(name, "%s", ofAmount(e.Field, e.Message))
				}
				f.Err = InFlag(name, err)
				return
			}
			*at(p) = v
		},
		func(p *api.Partition) string { return at(p).String() }}
}

// parseAmounts refuses an amount of zero, which further on would be one that is
// not named: no limit at all.
func parseAmounts(text string) (api.Amounts, error) {
	a, err := api.ParseAmounts(text)
	if err != nil {
		return a, err
	}
	if err := api.CheckCustom(a.Custom); err != nil {
		return a, err
	}
	for part := range strings.SplitSeq(text, ",") {
		if k, v, _ := strings.Cut(part, "="); a.Of(strings.TrimSpace(k)) == 0 {
			return a, api.FieldErrorf("", "%s=%s is not above zero: leave %s out, or write none", k, v, k)
		}
	}
	return a, nil
}

func numberField[T ~int64](name, use string, parse func(string) (T, error), at func(*api.Partition) *T) partitionField {
	return partitionField{name, &cli.StringFlag{Name: name, Usage: use},
		func(p *api.Partition, f *Parser) {
			if v := Parse(f, name, parse); f.Err == nil {
				*at(p) = v
			}
		},
		func(p *api.Partition) string { return textOf(*at(p)) }}
}

// boundField is a number that none takes away.
func boundField[T ~int | ~int64](name, use string, parse func(string) (T, error), at func(*api.Partition) *T) partitionField {
	return partitionField{name, &cli.StringFlag{Name: name, Usage: use},
		func(p *api.Partition, f *Parser) {
			if f.C.String(name) == none {
				*at(p) = 0
				return
			}
			v, err := parse(f.C.String(name))
			if err == nil && v <= 0 {
				err = api.Errorf(api.CodeInvalid, "%q is not above zero: write none to take it away", f.C.String(name))
			}
			if err != nil {
				f.Err = InFlag(name, err)
				return
			}
			*at(p) = v
		},
		func(p *api.Partition) string {
			if *at(p) == 0 {
				return ""
			}
			return textOf(*at(p))
		}}
}

func parseCount(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, api.Errorf(api.CodeInvalid, "%q is not a number of tasks", text)
	}
	return n, nil
}

// reading is a field that reads as what holds where nothing was said.
func reading(f partitionField, text func(*api.Partition) string) partitionField {
	f.text = text
	return f
}

func textOf(v any) string {
	switch v := v.(type) {
	case api.Weight:
		return v.String()
	case api.Duration:
		return v.String()
	case api.MilliCPU:
		return v.String()
	case api.Bytes:
		return v.Exact()
	case int:
		return strconv.Itoa(v)
	}
	return ""
}

func wordField[T ~string](name, use string, at func(*api.Partition) *T) partitionField {
	return partitionField{name, &cli.StringFlag{Name: name, Usage: use},
		func(p *api.Partition, f *Parser) { *at(p) = T(f.C.String(name)) },
		func(p *api.Partition) string { return string(*at(p)) }}
}

func wordsField(name, use string, at func(*api.Partition) *[]string) partitionField {
	return partitionField{name, &cli.StringSliceFlag{Name: name, Usage: use},
		func(p *api.Partition, f *Parser) { *at(p) = wordsOf(f.C, name) },
		func(p *api.Partition) string { return strings.Join(*at(p), ", ") }}
}

// wordsOf is the values of a flag that may be repeated; none is not a value.
func wordsOf(c *cli.Context, name string) []string {
	words := c.StringSlice(name)
	if len(words) == 1 && words[0] == none {
		return nil
	}
	return words
}

func fillNodes(p *api.Partition, f *Parser) {
	p.Nodes = nil
	for _, v := range wordsOf(f.C, "nodes") {
		con, err := api.ParseConstraint(v)
		if err != nil {
			f.Err = InFlag("nodes", err)
			return
		}
		p.Nodes = append(p.Nodes, con)
	}
}

func fillHours(p *api.Partition, f *Parser) {
	p.Adjust.Hours = nil
	for _, v := range wordsOf(f.C, "hours") {
		w, err := api.ParseWindow(v)
		if err != nil {
			f.Err = InFlag("hours", err)
			return
		}
		p.Adjust.Hours = append(p.Adjust.Hours, w)
	}
}

// Differences lists the fields in which an operator sees two partitions
// differ; of a new one, those that are not the default.
func Differences(old, p *api.Partition) []string {
	show := "%s %s → %s"
	if old == nil {
		show, old = "%[1]s %[3]s", &api.Partition{Path: p.Path}
		old.Normalize()
	}
	var out []string
	for _, f := range partitionFields() {
		if was, is := f.text(old), f.text(p); was != is {
			out = append(out, fmt.Sprintf(show, f.name, or(was, "-"), or(is, "-")))
		}
	}
	return out
}

// Settings is what an operator chose for a partition and what was left as it
// is, by the names of the flags.
func Settings(p *api.Partition) [][2]string {
	var out [][2]string
	for _, f := range partitionFields() {
		if text := f.text(p); text != "" {
			out = append(out, [2]string{f.name, text})
		}
	}
	return out
}

func joined[T fmt.Stringer](list []T) string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = v.String()
	}
	return strings.Join(out, ", ")
}

func or(s, empty string) string {
	if s == "" {
		return empty
	}
	return s
}
