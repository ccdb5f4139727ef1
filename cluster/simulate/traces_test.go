package simulate

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the traces and the golden files anew")

// generator makes the traces that are shipped. Its numbers come from PCG,
// whose sequence is part of Go's promise, and are rounded to whole seconds.
type generator struct {
	*rand.Rand
	out bytes.Buffer
	now float64
}

func newGenerator(seed uint64) *generator {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 2026))}
	g.out.WriteString("submit,name,user,partition,kind,tasks,gang,cpus,mem,runtime,time,priority\n")
	return g
}

// after moves the time on: arrivals come at random, so many seconds apart in
// the mean.
func (g *generator) after(mean float64) { g.now += -mean * math.Log(1-g.Float64()) }

// heavy is a run time with a long tail: log-normal, with that median.
func (g *generator) heavy(median, sigma float64) float64 {
	return min(median*math.Exp(sigma*g.NormFloat64()), 40*median)
}

// row writes one job. Its user says one and a half times what it takes, in
// whole minutes, or nothing.
func (g *generator) row(name, user, partition string, tasks int, gang bool, cpus float64, mem int, runtime float64, says bool, priority int) {
	together, time := "", ""
	if gang {
		together = "yes"
	}
	runtime = max(1, math.Round(runtime))
	if says {
		time = fmt.Sprintf("%.0fm", math.Ceil(runtime*1.5/60))
	}
	fmt.Fprintf(&g.out, "%.0f,%s,%s,%s,batch,%d,%s,%g,%dGiB,%.0f,%s,%d\n", math.Round(g.now), name, user, partition, tasks, together, cpus, mem, runtime, time, priority)
}

// team is ten hours of a small team: short tests all day, arrays of
// experiments, a few training gangs, and a nightly report at high priority.
func team() []byte {
	g := newGenerator(1)
	users := []string{"ada", "ben", "chi", "dora"}
	fmt.Fprintf(&g.out, "0,web,ops,prod,service,4,,2,4GiB,10h,,0\n")
	for g.now < 8*3600 {
		g.after(150)
		user := users[g.IntN(len(users))]
		switch k := g.IntN(100); {
		case k < 55:
			g.row("test", user, "ci", 1+g.IntN(4), false, 1, 2, g.heavy(120, 0.6), true, 0)
		case k < 85:
			g.row("sweep-"+user, user, "research", 4+g.IntN(20), false, 1, 4, g.heavy(900, 0.8), true, 0)
		case k < 93:
			g.row("train", user, "research", 4+4*g.IntN(2), true, 4, 8, g.heavy(1800, 0.5), true, 10)
		default:
			g.row("report", "ops", "prod", 2, false, 2, 8, g.heavy(600, 0.3), true, 50)
		}
	}
	return g.out.Bytes()
}

// batch is a backlog of three groups that share a cluster: many short tasks,
// few long and wide ones, and gangs, most without a word on how long they take.
func batch() []byte {
	g := newGenerator(2)
	for g.now < 4*3600 {
		g.after(45)
		switch k := g.IntN(100); {
		case k < 60:
			g.row(fmt.Sprintf("etl-%d", g.IntN(12)), fmt.Sprintf("etl%d", g.IntN(3)), "etl", 1+g.IntN(12), false, []float64{0.5, 1, 2}[g.IntN(3)], 1+g.IntN(4), g.heavy(180, 1), g.IntN(4) > 0, g.IntN(3)*10)
		case k < 85:
			g.row(fmt.Sprintf("sim-%d", g.IntN(5)), fmt.Sprintf("phys%d", g.IntN(4)), "physics", 1+g.IntN(3), false, float64(2+2*g.IntN(4)), 4+4*g.IntN(4), g.heavy(1500, 0.9), true, g.IntN(3)*10)
		default:
			g.row("train", fmt.Sprintf("ml%d", g.IntN(2)), "ml", 2<<g.IntN(4), true, 4, 16, g.heavy(1200, 0.6), g.IntN(2) > 0, 20)
		}
	}
	return g.out.Bytes()
}

// The traces in the repository are those that the generator makes: -update
// writes them.
func TestTracesAreGenerated(t *testing.T) {
	for name, make := range map[string]func() []byte{"team.csv": team, "batch.csv": batch} {
		golden(t, filepath.Join("traces", name), make())
	}
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs from what was made now; look at the difference, and if it is meant to be, run the test with -update\n%s", path, firstDifference(want, got))
	}
}

func firstDifference(want, got []byte) string {
	w, g := bytes.Split(want, []byte("\n")), bytes.Split(got, []byte("\n"))
	for i := range min(len(w), len(g)) {
		if !bytes.Equal(w[i], g[i]) {
			return fmt.Sprintf("line %d\nwant %s\ngot  %s", i+1, w[i], g[i])
		}
	}
	return fmt.Sprintf("want %d lines, got %d", len(w), len(g))
}
