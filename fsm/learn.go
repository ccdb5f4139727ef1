package fsm

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
)

// maxLearned bounds what is remembered of earlier runs, and of users' use.
const maxLearned = 10_000

// runtimeRow is what the runs of one program took: five markers of the
// P-square algorithm (Jain and Chlamtac, CACM 28(10), 1985), which follow one
// quantile without keeping the runs, so that one outlier does not rule.
type runtimeRow struct {
	Key    string     `json:"key"`
	Count  int        `json:"count"`
	Height [5]float64 `json:"height"` // seconds
	Pos    [5]float64 `json:"pos"`
	Used   time.Time  `json:"used"`
}

// quantile is the one followed: three of four runs take no longer.
const quantile = 0.75

func (r *runtimeRow) add(x float64) {
	if r.Count < 5 {
		r.Height[r.Count] = x
		r.Count++
		slices.Sort(r.Height[:r.Count])
		if r.Count == 5 {
			r.Pos = [5]float64{1, 2, 3, 4, 5}
		}
		return
	}
	r.Count++
	k := 0
	switch {
	case x < r.Height[0]:
		r.Height[0] = x
	case x >= r.Height[4]:
		r.Height[4], k = x, 3
	default:
		for k = 0; k < 3 && x >= r.Height[k+1]; k++ {
		}
	}
	for i := k + 1; i < 5; i++ {
		r.Pos[i]++
	}
	n := float64(r.Count - 1)
	for i, step := range [5]float64{0, quantile / 2, quantile, (1 + quantile) / 2, 1} {
		if i > 0 && i < 4 {
			r.move(i, 1+n*step-r.Pos[i])
		}
	}
}

// move brings marker i nearer to where it should be, d places away.
func (r *runtimeRow) move(i int, d float64) {
	if !(d >= 1 && r.Pos[i+1]-r.Pos[i] > 1 || d <= -1 && r.Pos[i-1]-r.Pos[i] < -1) {
		return
	}
	s := math.Copysign(1, d)
	q, n := &r.Height, &r.Pos
	parabolic := q[i] + s/(n[i+1]-n[i-1])*((n[i]-n[i-1]+s)*(q[i+1]-q[i])/(n[i+1]-n[i])+(n[i+1]-n[i]-s)*(q[i]-q[i-1])/(n[i]-n[i-1]))
	if q[i-1] < parabolic && parabolic < q[i+1] {
		q[i] = parabolic
	} else {
		j := i + int(s)
		q[i] += s * (q[j] - q[i]) / (n[j] - n[i])
	}
	n[i] += s
}

func (r *runtimeRow) estimate() time.Duration {
	switch {
	case r.Count == 0:
		return 0
	case r.Count < 5: // the quantile of the few
		return seconds(r.Height[min(r.Count-1, int(quantile*float64(r.Count)))])
	}
	return seconds(r.Height[2])
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// RuntimeKey names what runs: the job's name, else its command, in its
// partition. What earlier runs took is remembered by it.
func RuntimeKey(s *api.JobSpec) string {
	if s.Name != "" {
		return s.Partition + " " + s.Name
	}
	c := s.Partition + " $ " + strings.Join(s.Command, " ")
	return c[:min(len(c), 256)]
}

// learn remembers how long a run took, and charges its user for it.
func (x *tx) learn(j *api.Job, t *api.Task) {
	ran := t.Ran(x.At)
	if ran <= 0 || j.Spec.Kind != api.KindBatch {
		return
	}
	x.charge(j, t, ran)
	if t.State != api.TaskFinished {
		return
	}
	key := RuntimeKey(j.Spec)
	row := runtimeRow{Key: key}
	if old := get(x.runtimes, &row); old != nil {
		row = *old
		if old.Count >= 5 && x.At.Sub(old.Used) < time.Second && old.Count%16 != 0 {
			// Of many that end at once a sample is enough.
			row.Count++
			x.runtimes.ReplaceOrInsert(&row)
			return
		}
		x.ages.Delete(ageKey{old.Used, key})
	} else if x.runtimes.Len() >= maxLearned {
		if oldest, ok := x.ages.DeleteMin(); ok {
			x.runtimes.Delete(&runtimeRow{Key: oldest.key})
		}
	}
	row.add(ran.Seconds())
	row.Used = x.At
	x.runtimes.ReplaceOrInsert(&row)
	x.ages.ReplaceOrInsert(ageKey{row.Used, key})
}

// Estimate is how long a task of that spec will run: what its earlier runs
// took, at most what its user says; zero if nobody knows.
func (v *View) Estimate(s *api.JobSpec) time.Duration {
	if s.Kind != api.KindBatch {
		return 0
	}
	return atMost(v.Learned(s), time.Duration(s.Time))
}

// Learned is what earlier runs of that spec took, zero if there were none.
func (v *View) Learned(s *api.JobSpec) time.Duration {
	if row := get(v.t.runtimes, &runtimeRow{Key: RuntimeKey(s)}); row != nil {
		return row.estimate()
	}
	return 0
}

// atMost is the lesser of the two that are not zero.
func atMost(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// charge adds an ended attempt to the decayed use of its user.
func (x *tx) charge(j *api.Job, t *api.Task, ran time.Duration) {
	p := get(x.partitions, &api.Partition{Path: t.Partition})
	if p == nil || p.Policy != api.PolicyFair {
		return
	}
	row := useRow{partition: t.Partition, user: j.Actor}
	if old := get(x.uses, &row); old != nil {
		row = *old
	} else if x.uses.Len() >= maxLearned {
		x.uses.DeleteMin()
	}
	row.value = decayed(row.value, row.at, x.At, time.Duration(p.HalfLife)) + Dominant(t.Resources, x.capacity)*ran.Seconds()
	row.at = x.At
	x.uses.ReplaceOrInsert(&row)
}

func decayed(value float64, at, now time.Time, half time.Duration) float64 {
	if value == 0 || half <= 0 || !now.After(at) {
		return value
	}
	return value * math.Exp2(-float64(now.Sub(at))/float64(half))
}

// Used is what a user's ended attempts took of a partition with that half
// life, decayed to now: shares of the cluster times seconds.
func (v *View) Used(p *api.Partition, user string, now time.Time) float64 {
	row := get(v.t.uses, &useRow{partition: p.Path, user: user})
	if row == nil {
		return 0
	}
	return decayed(row.value, row.at, now, time.Duration(p.HalfLife))
}

// Dominant is the largest share of any one resource of whole that part is.
func Dominant(part, whole api.Resources) float64 {
	share := func(a, b int64) float64 {
		if a <= 0 || b <= 0 {
			return 0
		}
		return float64(a) / float64(b)
	}
	most := max(share(int64(part.CPUs), int64(whole.CPUs)), share(int64(part.Mem), int64(whole.Mem)),
		share(int64(part.Disk), int64(whole.Disk)), share(part.GPUs, whole.GPUs))
	for k, q := range part.Custom {
		most = max(most, share(q.Scalar, whole.Custom[k].Scalar))
	}
	return most
}
