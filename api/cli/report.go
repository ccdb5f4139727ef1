package cli

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/urfave/cli/v2"
)

func (a *app) reportCommand() *cli.Command {
	return &cli.Command{
		Name: "report", Usage: "sum up what work held, waited, lost and used, by user, partition, job or node",
		Description: "Days are whole days in UTC, up to now. What is held counts from the start of an attempt to its end.\n" +
			"LOST are core hours of attempts of batch jobs that failed, were preempted or had to move; USED is the part of\n" +
			"what was held that was used, by attempts that ended and whose node measured it. --csv has the fields of\n" +
			"-o json, in this order:\n" + strings.Join(reportFields[:9], ",") + ",\n" + strings.Join(reportFields[9:], ",") + "\n" +
			example("mesita report", "mesita report --since 30d --by partition", "mesita report --by job --csv > jobs.csv"),
		Flags: readFlags(
			&cli.StringFlag{Name: "by", Value: api.ReportUser, Usage: "sum up by `WHAT`: " + strings.Join(api.ReportWays, ", ")},
			&cli.StringFlag{Name: "since", Value: "7d", Usage: "from the day of this `TIME` on, or of how long ago it was; by job at most 35d, else 400d"},
			&cli.BoolFlag{Name: "csv", Usage: "print all fields with commas between them, the names first"},
		),
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 0, "report"); err != nil {
				return err
			}
			by := c.String("by")
			if !slices.Contains(api.ReportWays, by) {
				return api.FieldErrorf("by", "%q is none of %s", by, strings.Join(api.ReportWays, ", "))
			}
			if c.Bool("csv") && c.IsSet("output") {
				return usage("mesita report: --csv is a format: leave -o out")
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			rows, err := cl.Report(c.Context, by, c.String("since"))
			if err != nil {
				return err
			}
			if c.Bool("csv") {
				return reportCSV(a.out, rows, !c.Bool("no-headers"))
			}
			return list(a.out, c, rows, reportName, reportColumns(by))
		},
	}
}

// reportFields are the columns of the CSV: the names of the JSON.
var reportFields = api.FieldNames(reflect.TypeFor[api.ReportRow]())

func reportCSV(w io.Writer, rows []*api.ReportRow, heads bool) error {
	out := csv.NewWriter(w)
	if heads {
		if err := out.Write(reportFields); err != nil {
			return err
		}
	}
	for _, r := range rows {
		b, err := json.Marshal(r)
		if err != nil {
			return err
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(b, &fields); err != nil {
			return err
		}
		var cells []string
		for _, name := range reportFields {
			cells = append(cells, csvCell(fields[name]))
		}
		if err := out.Write(cells); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// csvCell is a JSON value as a cell: null, and what is left out, are empty.
func csvCell(v json.RawMessage) string {
	var s string
	if json.Unmarshal(v, &s) == nil {
		return s
	}
	return strings.TrimPrefix(string(v), "null")
}

func reportName(r *api.ReportRow) string {
	if r.Others {
		return "(others)"
	}
	return or(r.Name, "(unknown)")
}

func reportColumns(by string) []column[*api.ReportRow] {
	hours := func(get func(*api.ReportRow) float64) func(*api.ReportRow) string {
		return func(r *api.ReportRow) string { return strconv.FormatFloat(get(r), 'f', 2, 64) }
	}
	part := func(get func(*api.ReportRow) *float64) func(*api.ReportRow) string {
		return func(r *api.ReportRow) string {
			if p := get(r); p != nil {
				return fmt.Sprintf("%.0f%%", *p*100)
			}
			return ""
		}
	}
	count := func(get func(*api.ReportRow) int64) func(*api.ReportRow) string {
		return func(r *api.ReportRow) string { return fmt.Sprint(get(r)) }
	}
	return []column[*api.ReportRow]{
		{strings.ToUpper(by), reportName, false},
		{"PARTITION", func(r *api.ReportRow) string { return r.Partition }, by != api.ReportJob},
		{"CORE-H", hours(func(r *api.ReportRow) float64 { return r.CoreHours }), false},
		{"GIB-H", hours(func(r *api.ReportRow) float64 { return r.GiBHours }), false},
		{"CPU-USED", part(func(r *api.ReportRow) *float64 { return r.CPUUsed }), false},
		{"MEM-USED", part(func(r *api.ReportRow) *float64 { return r.MemUsed }), false},
		{"RUNNING", count(func(r *api.ReportRow) int64 { return r.Running }), false},
		{"ENDED", count(func(r *api.ReportRow) int64 { return r.Attempts }), false},
		{"FAILED", count(func(r *api.ReportRow) int64 { return r.Failed }), false},
		{"PREEMPTED", count(func(r *api.ReportRow) int64 { return r.Preempted }), true},
		{"MOVED", count(func(r *api.ReportRow) int64 { return r.Moved }), true},
		{"WAITED-H", hours(func(r *api.ReportRow) float64 { return r.WaitedHours }), false},
		{"STARTS", count(func(r *api.ReportRow) int64 { return r.Starts }), true},
		{"LOST-H", hours(func(r *api.ReportRow) float64 { return r.LostToFailures + r.LostToPreemption + r.LostToMoves }), false},
		{"FAILURES-H", hours(func(r *api.ReportRow) float64 { return r.LostToFailures }), true},
		{"PREEMPTION-H", hours(func(r *api.ReportRow) float64 { return r.LostToPreemption }), true},
		{"MOVES-H", hours(func(r *api.ReportRow) float64 { return r.LostToMoves }), true},
	}
}
