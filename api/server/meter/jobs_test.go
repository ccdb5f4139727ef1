package meter

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/prometheus/client_golang/prometheus"
)

const begun = 1000 * time.Second

var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func jobOf(task string) string { return task[:strings.LastIndexByte(task, '.')] }

// told is a counter of CPU time as a scrape by who has it, by job.
func told(t *testing.T, m *Meter, who string, shown func(job string) bool) map[string]float64 {
	t.Helper()
	s := &Scrape{}
	m.Used(s, who, shown)
	var b bytes.Buffer
	if err := m.Write(&b, s); err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for line := range strings.Lines(b.String()) {
		var job string
		var v float64
		if n, _ := fmt.Sscanf(line, "mesita_job_cpu_seconds_total{job=%q} %g", &job, &v); n == 2 {
			out[job] = v
		}
	}
	return out
}

// bare counts nothing but jobs, so that a scrape is quick.
func bare() *Meter { return &Meter{registry: prometheus.NewRegistry(), jobs: newJobs(begun)} }

func all(string) bool { return true }

// Whatever looks miss, and in whatever order they come, the sum is what attempts used
// since the daemon started, or since the first look at those that are older.
func TestLooksInAnyOrderGiveTheSum(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 0))
		m, at := bare(), start
		tasks := make([]api.TaskStats, 8) // of two jobs
		number := 0
		restart := func(i int, began time.Duration) {
			number++ // a job that was removed begins again with its first attempt
			tasks[i] = api.TaskStats{Task: fmt.Sprintf("job%d.%d", i%2, i), Attempt: 1 + number%2, Began: began + time.Duration(number)}
		}
		for i := range tasks {
			restart(i, 0)
			tasks[i].CPUTime = 500 * time.Second
		}
		var late [][]api.TaskStats
		first, most, names := map[time.Duration]time.Duration{}, map[time.Duration]time.Duration{}, map[time.Duration]string{}
		look := func(stats []api.TaskStats) {
			at = at.Add(time.Duration(r.IntN(25)) * time.Minute / 10)
			m.Use(stats, jobOf, at)
			for _, s := range stats {
				if _, known := most[s.Began]; !known && s.Began < begun {
					first[s.Began] = s.CPUTime
				}
				most[s.Began], names[s.Began] = max(most[s.Began], s.CPUTime), jobOf(s.Task)
			}
		}
		for range 60 {
			var found []api.TaskStats
			for i := range tasks {
				tasks[i].CPUTime += time.Duration(r.IntN(5)) * time.Second
				if r.IntN(4) > 0 {
					found = append(found, tasks[i])
				}
				if r.IntN(20) == 0 {
					restart(i, begun)
				}
			}
			if late = append(late, found); r.IntN(2) == 0 {
				r.Shuffle(len(late), func(i, j int) { late[i], late[j] = late[j], late[i] })
				for _, stats := range late {
					look(stats)
				}
				late = nil
			}
		}
		look(tasks)
		want := map[string]float64{}
		for began, cpu := range most {
			want[names[began]] += (cpu - first[began]).Seconds()
		}
		if got := told(t, m, "", all); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("seed %d: told %v, want %v", seed, got, want)
		}
	}
}

// No counter falls while it is told, whoever reads, whatever it sees, and although jobs
// are forgotten that are long gone.
func TestNoCounterFalls(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 0))
		m, at := bare(), start
		last := map[string]map[string]float64{}
		for step := range 200 {
			at = at.Add(time.Duration(r.IntN(40)) * time.Minute)
			var stats []api.TaskStats
			for i := range 5 {
				if r.IntN(5) == 0 {
					stats = append(stats, api.TaskStats{Task: fmt.Sprintf("job%d.0", i), Attempt: step, Began: begun, CPUTime: time.Second})
				}
			}
			m.Use(stats, jobOf, at)
			who := fmt.Sprint("reader", r.IntN(3))
			got := told(t, m, who, func(string) bool { return r.IntN(2) == 0 })
			was, before := last[who][""]
			if is, there := got[""]; is < was || before && !there {
				t.Fatalf("seed %d, step %d: %s was told %g of hidden jobs, and then %g (%v)", seed, step, who, was, is, there)
			}
			last[who] = got
		}
	}
}

// What is remembered is bounded, and what runs is not forgotten for it.
func TestWhatIsRememberedIsBounded(t *testing.T) {
	m, at := bare(), start
	runs := api.TaskStats{Task: "web.0", Attempt: 1, Began: begun}
	for look := range 30 {
		at = at.Add(time.Second)
		runs.CPUTime += time.Second
		stats := []api.TaskStats{runs}
		for i := range maxAttempts / 5 {
			stats = append(stats, api.TaskStats{Task: fmt.Sprintf("web.%d", i+1), Attempt: look, Began: begun})
		}
		m.Use(stats, jobOf, at)
		told(t, m, fmt.Sprint(look), all)
		told(t, m, fmt.Sprint("other", look), all)
	}
	if n := len(m.jobs.recent) + len(m.jobs.older); n > 3*maxAttempts {
		t.Errorf("%d attempts are remembered", n)
	}
	if n := len(m.jobs.readers); n != maxReaders {
		t.Errorf("%d readers are remembered", n)
	}
	if got := told(t, m, "", all)["web"]; got != 30 {
		t.Errorf("told %g, want 30", got)
	}
}
