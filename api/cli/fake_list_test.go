package cli

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/mesita/mesita/api"
)

// limitOf is how many rows are asked for, of so many.
func limitOf(q url.Values, rows int) (int, error) {
	s := q.Get("limit")
	if s == "" {
		return rows, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, api.FieldErrorf("limit", "%q is not a number", s)
	}
	return min(rows, n), nil
}

func jobsPage(q url.Values, jobs []*api.Job) (any, error) {
	limit, err := limitOf(q, len(jobs))
	if err != nil {
		return nil, err
	}
	if q.Get("sort") == "-id" {
		slices.Reverse(jobs)
	}
	return map[string]any{"index": 7, "total": len(jobs), "items": append([]*api.Job{}, jobs[:limit]...)}, nil
}

// tasksPage is the beginning of a list of tasks, with what is counted beyond it.
// Tasks of an array that wait are one row of a folded one.
func tasksPage(q url.Values, tasks []*api.Task) (any, error) {
	out := map[string]any{"index": 7, "total": len(tasks)}
	limit, err := limitOf(q, len(tasks))
	if err != nil {
		return nil, err
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

// queue is what waits: an array and a job behind it that no node can take.
func (f *fake) queue(r *http.Request) (any, error) {
	q := r.URL.Query()
	if p := q.Get("partition"); p != "" && p != "ml" {
		return nil, api.NotFound("partition", p)
	}
	rows := []*api.Queued{
		{Position: 1, Task: "57.12", Job: "57", Index: 12, Through: 99, Count: 88, Partition: "ml", User: "token:ci", Resources: api.Resources{CPUs: 1000, Mem: 2 << 30}, Submitted: f.now, Estimate: time.Date(2030, 1, 2, 3, 4, 5, 0, time.Local), Sure: api.SurePromised},
		{Position: 89, Task: "60.0", Job: "60", Count: 1, Partition: "ml/train", User: "root", Resources: api.Resources{CPUs: 64_000, Mem: 128 << 20}, Submitted: f.now, Sure: api.SureNot},
	}
	rows[0].Because(api.Obstacle{Kind: api.ObstacleFull})
	rows[1].Because(api.Obstacle{Kind: api.ObstacleNever})
	limit, err := strconv.Atoi(q.Get("limit"))
	if err != nil {
		return nil, api.FieldErrorf("limit", "%q is not a number", q.Get("limit"))
	}
	return map[string]any{"index": 7, "total": 89, "items": rows[:min(limit, len(rows))]}, nil
}
