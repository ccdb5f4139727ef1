package api

import (
	"maps"
	"testing"
)

// Whatever of a request is advised can be set by `job set`, and comes to what was
// advised; what is not named stays, and the spec that was is not touched.
func TestWhatIsAdvisedCanBeSet(t *testing.T) {
	was := &JobSpec{Kind: KindBatch}
	was.Request = Request{CPUs: 1000, Mem: 4096, MemLimit: 8192, Disk: 500, GPUs: 4, Custom: map[string]Quantity{"gold": {Scalar: 3000}, "lead": {Scalar: 2000}}}
	custom := maps.Clone(was.Custom)
	for name, n := range map[string]int64{"cpus": 700, "mem": 2048, "disk": 7, "gpus": 2, "gold": 1000} {
		r := Remedy{Kind: RemedyRequest, Request: Amounts{}.With(name, n)}
		c, ok := r.Set()
		if !ok || c.IsZero() {
			t.Errorf("%s cannot be set", name)
			continue
		}
		s, _ := c.Of(&Job{Spec: was})
		for _, k := range []string{"cpus", "mem", "disk", "gpus", "gold", "lead"} {
			want := AmountsOf(was.Need()).Of(k)
			if k == name {
				want = n
			}
			if got := AmountsOf(s.Need()).Of(k); got != want {
				t.Errorf("with %s set, %s is %d, not %d", name, k, got, want)
			}
		}
	}
	c, ok := Remedy{Kind: RemedyRequest, MemLimit: 5000}.Set()
	if s, _ := c.Of(&Job{Spec: was}); !ok || s.MemLimit != 5000 || s.Mem != was.Mem {
		t.Errorf("a limit of %d, %v", s.MemLimit, ok)
	}
	if !maps.EqualFunc(custom, was.Custom, func(a, b Quantity) bool { return a.Scalar == b.Scalar }) {
		t.Errorf("the spec that was has %v", was.Custom)
	}
}
