package server

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// The queue shows a caller the jobs that it sees, of one partition if it asks for
// that, at the places which those that it does not see leave them; and names none of
// the others as who is in the way.
func TestTheQueueShowsWhatItsReaderSees(t *testing.T) {
	n := newLeader(t)
	admin := n.token(api.RoleAdmin)
	for _, p := range []string{"prod", "prod/web", "dev"} {
		n.send(request{method: "PUT", path: "/v1/partitions/" + p, body: `{}`, token: admin}).want(t, 200)
	}
	for name, p := range map[string]string{"shop": "prod", "blog": "prod/web", "payroll": "dev"} {
		n.send(request{method: "POST", path: "/v1/jobs", body: `{"name":"` + name + `","kind":"service","count":1,"partition":"` + p + `","command":["x"]}`, token: admin}).want(t, 201)
	}
	n.tell = func(answer any) {
		if q, ok := answer.(*api.Queued); ok {
			q.Because(api.Obstacle{Kind: api.ObstacleHeld, Job: "payroll"})
		}
	}
	all := map[string]int{}
	for _, q := range into[struct{ Items []api.Queued }](t, n.send(request{method: "GET", path: "/v1/queue", token: admin})).Items {
		all[q.Job] = q.Position
	}
	for _, c := range []struct{ who, path, sees string }{
		{"viewer", "/v1/queue", "blog payroll shop"}, {"viewer", "/v1/queue?partition=prod", "blog shop"}, {"viewer", "/v1/queue?partition=prod/web", "blog"},
		{"viewer@prod", "/v1/queue", "blog shop"}, {"viewer@dev", "/v1/queue", "payroll"}, {"viewer@dev", "/v1/queue?partition=prod", ""},
	} {
		r := n.send(request{method: "GET", path: c.path, token: n.with("", c.who)})
		page := into[struct {
			Items []api.Queued
			Total int
		}](t, r)
		for _, q := range page.Items {
			if !strings.Contains(c.sees, q.Job) || q.Position != all[q.Job] {
				t.Errorf("%s: %s shows %s at place %d of %d", c.who, c.path, q.Job, q.Position, all[q.Job])
			}
		}
		if want := len(strings.Fields(c.sees)); len(page.Items) != want || page.Total != want {
			t.Errorf("%s: %s: %d rows, %d in all", c.who, c.path, len(page.Items), page.Total)
		}
		if named := strings.Contains(string(r.body), "payroll"); len(page.Items) > 0 && named != (strings.Contains(c.sees, "payroll") || c.who == "viewer") {
			t.Errorf("%s: %s names payroll: %v: %s", c.who, c.path, named, r.body)
		}
	}
	n.send(request{method: "GET", path: "/v1/queue?partition=none", token: admin}).want(t, 404)
}

// Who takes the queue page by page sees each job that waits all the while, also if rows
// move back: once, as long as one of the last rows of each page waits still where it
// did, and else no less than that.
func TestPagesOfTheQueueLeaveNothingOut(t *testing.T) {
	n := newLeader(t)
	admin := n.token(api.RoleAdmin)
	for seed := range uint64(15) {
		r := rand.New(rand.NewPCG(seed, 3))
		waits := map[string]bool{}
		n.back = map[string]int{}
		for i := range 30 {
			name := fmt.Sprintf("q%d-%02d", seed, i)
			n.send(request{method: "POST", path: "/v1/jobs", body: `{"name":"` + name + `","kind":"batch","command":["x"]}`, token: admin}).want(t, 201)
			waits[name] = true
		}
		all, moves := seed%3 == 1, seed%3 == 2 // of what the page had is gone before the next
		seen, again := map[string]int{}, false
		for next := ""; ; {
			page := into[struct {
				Items []api.Queued
				Next  string
			}](t, n.send(request{method: "GET", path: "/v1/queue?limit=5&cursor=" + next, token: admin}))
			for _, q := range page.Items {
				seen[q.Job]++
			}
			if next = page.Next; next == "" || moves && len(seen) == 30 {
				break
			}
			shown := 0
			for _, name := range slices.Sorted(maps.Keys(waits)) {
				if seen[name] > 0 {
					shown++
				}
				if moves {
					if last := len(page.Items) - 1; name == page.Items[last].Job || r.IntN(16) == 0 && name != page.Items[max(0, last-1)].Job {
						n.back[name]++
					}
					continue
				}
				if all && seen[name] > 0 || !all && r.IntN(8) == 0 && shown < 4 {
					n.send(request{method: "POST", path: "/v1/jobs/" + name + "/stop", token: admin}).want(t, 200)
					delete(waits, name)
				}
			}
		}
		for name := range waits {
			again = again || seen[name] > 1
			if seen[name] == 0 {
				t.Errorf("seed %d: %s waits, and was on no page", seed, name)
			}
			n.send(request{method: "POST", path: "/v1/jobs/" + name + "/stop", token: admin}).want(t, 200)
		}
		if again && !all && !moves {
			t.Errorf("seed %d: %v: a row came again although what was before it waits", seed, seen)
		}
	}
}
