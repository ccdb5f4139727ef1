package server

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
)

// reportSince is how far back a report goes if nobody says.
const reportSince = 7 * 24 * time.Hour

func reportKey(r *api.ReportRow) string {
	others := ""
	if r.Others {
		others = "\x00"
	}
	return r.Partition + "\x00" + r.Name + others
}

// getReport sums up what work held, waited, lost and used, in whole days of UTC.
func getReport(c *call) (any, error) {
	by, since, now := cmp.Or(c.Query.Text("by"), api.ReportUser), c.when("since"), c.Now()
	switch {
	case c.Query.Err != nil:
		return nil, c.Query.Err
	case !slices.Contains(api.ReportWays, by):
		return nil, api.FieldErrorf("by", "%q is none of %s", by, strings.Join(api.ReportWays, ", "))
	case since.After(now):
		return nil, api.FieldErrorf("since", "is in the future: say how long ago, such as 7d")
	case since.IsZero():
		since = now.Add(-reportSince)
	}
	axis := map[string]fsm.Axis{api.ReportNode: fsm.ByNode, api.ReportJob: fsm.ByJob}[by] // else by shares
	if days := axis.Days(); fsm.Day(now)-fsm.Day(since) > int64(days) {                   // by the day, as it was later than now when since was read
		return nil, api.FieldErrorf("since", "is longer ago than the %d days that are kept by %s: say at most %dd", days, by, days)
	}
	v := c.Store.View()
	if !v.Does(fsm.Accounts) {
		return nil, api.Errorf(api.CodeConflict, "what work used is counted from level %d of the cluster on, which is at level %d: upgrade the nodes first that `mesita cluster level` names", fsm.Accounts.Level(), v.Level())
	}
	sees, sums := c.sight(v), map[api.ReportRow]*fsm.Account{}
	for _, a := range v.Accounts(axis, fsm.Day(since), fsm.Day(now), now) {
		if !sees.account(by, a) {
			continue
		}
		row := reportRow(by, a)
		row.From, row.To = since.UTC().Format(time.DateOnly), now.UTC().Format(time.DateOnly)
		if sums[row] == nil {
			sums[row] = new(fsm.Account)
		}
		sums[row].Add(&a.Account)
		sums[row].Running += a.Running
	}
	rows := make([]*api.ReportRow, 0, len(sums))
	for row, sum := range sums {
		row.Show(&sum.Account)
		row.Running = sum.Running
		rows = append(rows, &row)
	}
	slices.SortFunc(rows, func(a, b *api.ReportRow) int { return strings.Compare(reportKey(a), reportKey(b)) })
	return exchange.ListOf(slices.Values(rows)), nil
}

// reportRow is the row that an account goes to, without its numbers.
func reportRow(by string, a *fsm.Account) api.ReportRow {
	row := api.ReportRow{By: by, Name: a.Name, Others: a.Others}
	switch by {
	case api.ReportPartition:
		row.Name = a.Partition
	case api.ReportJob:
		row.Partition = a.Partition
	}
	return row
}

// account reports whether the caller sees an account: nodes are everybody's, and
// the others are of any.
func (s *sight) account(by string, a *fsm.Account) bool {
	on := auth.Object{Partition: a.Partition}
	switch {
	case s.all || by == api.ReportNode:
		return true
	case a.Others:
		return false
	case by == api.ReportJob:
		on.Job = a.Name
	}
	return s.mayRead(on)
}
