package weights

import (
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path"
	"strconv"
	"strings"
	"testing"
)

// quotas is a v1 kernel: what each group there is may use, 0 being no bound. One
// below another has no more than that one, as the kernel sees to it.
type quotas map[string]int64

func (q quotas) Weigh(string, uint64) error  { return nil }
func (q quotas) Protect(string, int64) error { return nil }
func (q quotas) LimitMemory(int64) error     { return nil }

func (q quotas) LimitCPU(group string, most int64) error {
	if _, ok := q[group]; !ok {
		return os.ErrNotExist
	}
	for up := path.Dir(group); up != "." && most > 0; up = path.Dir(up) {
		if q[up] > 0 {
			most = min(most, q[up])
		}
	}
	q[group] = most
	for g := range q {
		if strings.HasPrefix(g, group+"/") && most > 0 && q[g] > most {
			q[g] = most
		}
	}
	return nil
}

func (q quotas) Limited() (out []string, err error) {
	for g, most := range q {
		if most > 0 && strings.Count(g, "/") < 3 {
			out = append(out, g)
		}
	}
	return out, nil
}

// However tasks come and go, limits are set, moved and lifted, the daemon starts
// anew, and whatever the kernel does not take at first: a partition that is bounded may use its part of the limit and no
// less than its tasks were guaranteed, and each task what it asked for below that.
func TestPartitionsAreBoundedByWhatRunsInThem(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	kernel := busy{quotas{"": 0}, overtaxed{rnd: rnd}}
	w := New(Share{CPUs: 4000}, kernel)
	type task struct{ cpus, limit int64 }
	now, told := map[string]task{}, map[string]Bound{}
	set := func(slice string, is task) {
		w.Set(slice, Share{CPUs: is.cpus}, is.limit)
		for g := slice; g != "."; g = path.Dir(g) {
			if _, ok := kernel.quotas[g]; !ok {
				kernel.quotas[g] = 0 // made anew, as the kernel makes it
			}
		}
	}
	part := func(b Bound, sum int64) int64 { return max(sum, sum*b.Limit/max(b.Requested, sum)) }
	check := func() {
		t.Helper()
		for w.Write() != nil { // nothing is lost by that
		}
		sums := map[string]int64{}
		for s, is := range now {
			for g := s; g != "."; g = path.Dir(g) {
				sums[g] += is.cpus
			}
		}
		for g := range kernel.quotas {
			if sums[g] == 0 && g != "" {
				delete(kernel.quotas, g) // the last task of it took it along
			}
		}
		for g := range sums {
			want := now[g].limit
			if b, ok := told[g]; ok {
				want = part(b, sums[g])
			}
			for up := path.Dir(g); up != "." && want > 0; up = path.Dir(up) {
				if b, ok := told[up]; ok {
					want = min(want, part(b, sums[up]))
				}
			}
			if kernel.quotas[g] != want {
				t.Fatalf("%s may use %d, and not %d, with %v", g, kernel.quotas[g], want, told)
			}
		}
	}
	w.Bound(told)
	for range 3000 {
		switch rnd.IntN(8) {
		case 0:
			part := []string{"a", "a/b", "c"}[rnd.IntN(3)]
			if told[part] = (Bound{int64(rnd.IntN(6)) * 1000, int64(rnd.IntN(2000))}); told[part].Limit == 0 {
				delete(told, part)
			}
			w.Bound(told)
		case 1:
			w = New(Share{CPUs: 4000}, kernel) // the daemon starts anew, and finds what runs
			for _, s := range slicesOf(now) {
				set(s, now[s])
			}
			w.Bound(told)
		default:
			slice := []string{"a", "a/b", "c"}[rnd.IntN(3)] + "/job" + strconv.Itoa(rnd.IntN(2)) + "/" + strconv.Itoa(rnd.IntN(3))
			is := task{int64(rnd.IntN(4)) * 100, 0}
			if is.cpus > 0 {
				is.limit = int64(rnd.IntN(3)) * 700
			}
			if now[slice] = is; is.cpus == 0 {
				delete(now, slice)
				delete(kernel.quotas, slice)
			}
			set(slice, is)
			if is.cpus == 0 {
				delete(kernel.quotas, slice)
			}
		}
		check()
	}
	for s := range now {
		w.Set(s, Share{}, 0)
	}
	if b := &w.bounds; len(b.own)+len(b.wrote)+len(b.due) != 0 {
		t.Errorf("something is left of tasks that ended: %v", b)
	}
}

// busy is a kernel that takes nothing now and then.
type busy struct {
	quotas
	overtaxed
}

func (b busy) Weigh(string, uint64) error  { return nil }
func (b busy) Protect(string, int64) error { return nil }
func (b busy) LimitMemory(int64) error     { return nil }

func (b busy) LimitCPU(group string, most int64) error {
	return b.perhaps(func() error { return b.quotas.LimitCPU(group, most) })
}

func (b busy) Limited() (out []string, err error) {
	err = b.perhaps(func() (err error) { out, err = b.quotas.Limited(); return err })
	return out, err
}

func slicesOf[V any](m map[string]V) (out []string) {
	for s := range maps.Keys(m) {
		out = append(out, s)
	}
	return out
}

// A daemon that has heard nothing from the cluster yet leaves the bounds be; one
// that has lifts those of partitions that are bounded no more.
func TestBoundsOfAnEarlierDaemon(t *testing.T) {
	kernel := quotas{"": 0, "kept": 500, "kept/j": 0, "kept/j/0": 0, "gone": 300, "gone/j": 0, "gone/j/0": 0}
	w := New(Share{CPUs: 4000}, kernel)
	w.Set("gone/j/0", Share{CPUs: 100}, 0)
	if err := w.Write(); err != nil || kernel["kept"] != 500 || kernel["gone"] != 300 {
		t.Errorf("before it heard anything: %v, %v", kernel, err)
	}
	w.Bound(map[string]Bound{"kept": {1000, 1000}})
	if err := w.Write(); err != nil || kernel["kept"] != 500 || kernel["gone"] != 0 {
		t.Errorf("told, while it is not known what runs: %v, %v", kernel, err)
	}
	w.Set("kept/j/0", Share{CPUs: 200}, 0)
	if err := w.Write(); err != nil || kernel["kept"] != 200 {
		t.Errorf("and then: %v, %v", kernel, err)
	}
	if b := w.Bounds("kept/j/0"); len(b) != 1 || b[0] != (Bounded{"kept", 1000, 200}) {
		t.Errorf("it says %v", b)
	}
}

// The parts of all nodes are the limit, however large the numbers.
func TestAPartOfALimit(t *testing.T) {
	for _, c := range []struct{ limit, requested, guaranteed, want int64 }{
		{1000, 400, 100, 250}, {1000, 400, 300, 750}, {1000, 0, 0, 0}, {1000, 0, 5, 1000}, {100, 400, 300, 300},
		{math.MaxInt64, math.MaxInt64 / 2, math.MaxInt64 / 4, math.MaxInt64/2 - 1}, {-1, -1, 7, 7}, {1000, 3, 1, 333},
	} {
		if got := (Bound{c.limit, c.requested}).here(c.guaranteed); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}
