package cli

import (
	"net/url"
	"slices"
	"strconv"

	"github.com/mesita/mesita/api"
)

// tasksPage is the beginning of a list of tasks, with what is counted beyond it.
// Tasks of an array that wait are one row of a folded one.
func tasksPage(q url.Values, tasks []*api.Task) (any, error) {
	out := map[string]any{"index": 7, "total": len(tasks)}
	limit := len(tasks)
	if s := q.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			return nil, api.FieldErrorf("limit", "%q is no number", s)
		}
		limit = min(limit, n)
	}
	if q.Get("sort") == "-created" {
		slices.Reverse(tasks)
	}
	if q.Get("fold") != "1" {
		out["items"] = tasks[:limit]
		return out, nil
	}
	var runs []api.TaskRun
	for _, t := range tasks {
		if n := len(runs); n > 0 && runs[n-1].Joins(t) {
			runs[n-1].Through, runs[n-1].Count = t.Index, runs[n-1].Count+1
			continue
		}
		runs = append(runs, api.TaskRun{Task: t, Through: t.Index, Count: 1})
	}
	out["items"] = runs[:min(limit, len(runs))]
	return out, nil
}
