package fsm

import (
	"cmp"
	"math"
	"math/big"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
)

// maxLearned bounds what is remembered of earlier runs, and of users' use.
const maxLearned = 10_000

// runtimeRow is what the runs of one program took: five markers of the
// P-square algorithm (Jain and Chlamtac, CACM 28(10), 1985), which follow one
// quantile without keeping the runs, so that one outlier does not rule. It
// reckons in integers: with floating point two processors may differ, as one
// rounds once where the other does twice.
type runtimeRow struct {
	api.Extra
	Key    string    `json:"key"`
	Count  int       `json:"count"`
	Height [5]int64  `json:"us"`     // microseconds
	Place  [5]int64  `json:"places"` // of the markers among the runs, from 1
	Used   time.Time `json:"used"`

	floats *floatMarkers // instead of Height and Place, below the level of IntegerLearning
}

var runtimeNoun = noun[runtimeRow]{
	less:   func(a, b *runtimeRow) bool { return a.Key < b.Key },
	follow: (*tx).indexRuntime,
	forms:  []form[runtimeRow]{floatRuntime, {record: recLearnedRuntime}},
}

// useRow is what a user's ended attempts took of a partition, decayed to at.
type useRow struct {
	api.Extra
	Partition string    `json:"partition"`
	User      string    `json:"user"`
	Value     int64     `json:"ns"` // shares of the cluster times nanoseconds
	At        time.Time `json:"at"`

	float float64 // instead of Value, below the level of IntegerLearning: in seconds
}

var useNoun = noun[useRow]{
	less: func(a, b *useRow) bool {
		return cmp.Or(strings.Compare(a.Partition, b.Partition), strings.Compare(a.User, b.User)) < 0
	},
	forms: []form[useRow]{floatUse, {record: recLearnedUse}},
}

// The quantile that is followed: three of four runs take no longer.
const (
	quantileOf   = 3
	quantileFrom = 4
)

// steps are where the markers should be: none, half of the quantile, the
// quantile, halfway from there to all, and all, in eighths.
var steps = [5]int64{0, quantileOf, 2 * quantileOf, quantileFrom + quantileOf, 8}

func (r *runtimeRow) add(ran time.Duration) {
	if r.floats != nil {
		r.Count = r.floats.add(r.Count, ran.Seconds())
		return
	}
	x := ran.Microseconds()
	if r.Count < 5 {
		r.Height[r.Count] = x
		r.Count++
		slices.Sort(r.Height[:r.Count])
		if r.Count == 5 {
			r.Place = [5]int64{1, 2, 3, 4, 5}
		}
		return
	}
	r.Count++
	for i := 1 + below(r.Height[:], x); i < 5; i++ {
		r.Place[i]++
	}
	r.Height[0], r.Height[4] = min(r.Height[0], x), max(r.Height[4], x)
	for i := 1; i < 4; i++ {
		r.move(i, 8+int64(r.Count-1)*steps[i]-8*r.Place[i])
	}
}

// below is the marker of 0 to 3 that x comes after.
func below[T cmp.Ordered](height []T, x T) int {
	k := 0
	for k < 3 && x >= height[k+1] {
		k++
	}
	return k
}

// move brings marker i one place nearer to where it should be, d eighths away.
func (r *runtimeRow) move(i int, d int64) {
	q, n := &r.Height, &r.Place
	before, after := n[i]-n[i-1], n[i+1]-n[i]
	switch {
	case d >= 8 && after > 1:
		rise := mulDiv(before+1, q[i+1]-q[i], after) + mulDiv(after-1, q[i]-q[i-1], before)
		if up := q[i] + rise/(before+after); q[i-1] < up && up < q[i+1] {
			q[i] = up
		} else {
			q[i] += (q[i+1] - q[i]) / after
		}
		n[i]++
	case d <= -8 && before > 1:
		fall := mulDiv(before-1, q[i+1]-q[i], after) + mulDiv(after+1, q[i]-q[i-1], before)
		if down := q[i] - fall/(before+after); q[i-1] < down && down < q[i+1] {
			q[i] = down
		} else {
			q[i] -= (q[i] - q[i-1]) / before
		}
		n[i]--
	}
}

// mulDiv is a*b/c, none of them below zero, at most half of what an int64
// holds, so that two of them add up.
func mulDiv(a, b, c int64) int64 {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	if c <= 0 || hi >= uint64(c) {
		return math.MaxInt64 / 2
	}
	q, _ := bits.Div64(hi, lo, uint64(c))
	return int64(min(q, math.MaxInt64/2))
}

func (r *runtimeRow) estimate() time.Duration {
	few := min(r.Count-1, quantileOf*r.Count/quantileFrom) // the quantile of less than five
	switch {
	case r.Count == 0:
		return 0
	case r.floats != nil && r.Count < 5:
		return seconds(r.floats.Height[few])
	case r.floats != nil:
		return seconds(r.floats.Height[2])
	case r.Count < 5:
		return time.Duration(r.Height[few]) * time.Microsecond
	}
	return time.Duration(r.Height[2]) * time.Microsecond
}

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
	if !x.does(IntegerLearning) {
		row.floats = new(floatMarkers)
	}
	if old := x.runtimes.get(&row); old != nil {
		row = *old
		if row.floats != nil {
			row.floats = new(*old.floats)
		}
		if old.Count >= 5 && x.At.Sub(old.Used) < time.Second && old.Count%16 != 0 {
			// Of many that end at once a sample is enough.
			row.Count++
			x.runtimes.put(x, &row)
			return
		}
	} else if x.runtimes.len() >= maxLearned {
		if oldest, ok := x.ages.Min(); ok {
			x.runtimes.delete(x, oldest)
		}
	}
	row.add(ran)
	row.Used = x.At
	x.runtimes.put(x, &row)
}

func (x *tx) indexRuntime(old, r *runtimeRow) {
	if old != nil {
		x.ages.Delete(old)
	}
	if r != nil {
		x.ages.ReplaceOrInsert(r)
	}
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
	if row := v.t.runtimes.get(&runtimeRow{Key: RuntimeKey(s)}); row != nil {
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
	p := x.partitions.get(&api.Partition{Path: t.Partition})
	if p == nil || p.Policy != api.PolicyFair {
		return
	}
	row := useRow{Partition: t.Partition, User: x.owner(j)}
	if old := x.uses.get(&row); old != nil {
		row = *old
	} else if x.uses.len() >= maxLearned {
		x.uses.delete(x, x.uses.first())
	}
	half := time.Duration(p.HalfLife)
	if x.does(IntegerLearning) {
		row.Value = min(decayed(row.Value, row.At, x.At, half)+dominantTime(t.Resources, x.capacity, ran), math.MaxInt64/2)
	} else {
		row.float = decayedFloat(row.float, row.At, x.At, half) + Dominant(t.Resources, x.capacity)*ran.Seconds()
	}
	row.At = x.At
	x.uses.put(x, &row)
}

// dominantTime is the largest share of any one resource of whole that part is,
// for that long.
func dominantTime(part, whole api.Resources, ran time.Duration) int64 {
	share := func(a, b int64) int64 {
		if a <= 0 || b <= 0 {
			return 0
		}
		return mulDiv(int64(ran), a, b)
	}
	most := max(share(int64(part.CPUs), int64(whole.CPUs)), share(int64(part.Mem), int64(whole.Mem)),
		share(int64(part.Disk), int64(whole.Disk)), share(part.GPUs, whole.GPUs))
	for k, q := range part.Custom {
		most = max(most, share(q.Scalar, whole.Custom[k].Scalar))
	}
	return most
}

// halves are 2^-1, 2^-1/2, 2^-1/4 and so on, times 2^32.
var halves = func() (h [25]uint64) {
	c := new(big.Int).Lsh(big.NewInt(1), 63) // times 2^64, for exact roots
	for i := range h {
		h[i] = new(big.Int).Rsh(c, 32).Uint64()
		c.Sqrt(c.Lsh(c, 64))
	}
	return h
}()

// decayed halves a value with each half life that went by, in integers.
func decayed(value int64, at, now time.Time, half time.Duration) int64 {
	if value == 0 || half <= 0 || !now.After(at) {
		return value
	}
	gone := now.Sub(at)
	value >>= min(uint64(gone/half), 63)
	rest := gone % half
	for _, h := range halves[1:] { // the bits of rest/half
		half = (half + 1) / 2
		if rest >= half {
			rest -= half
			hi, lo := bits.Mul64(uint64(value), h)
			value = int64(hi<<32 | lo>>32)
		}
	}
	return value
}

// Used is what a user's ended attempts took of a partition with that half
// life, decayed to now: shares of the cluster times seconds.
func (v *View) Used(p *api.Partition, user string, now time.Time) (use float64) {
	if row := v.t.uses.get(&useRow{Partition: p.Path, User: user}); row != nil {
		use = v.decayed(row, p, now)
	}
	if user != api.LocalRoot && user != api.LocalDev {
		return use
	}
	for row := range v.t.uses.from(&useRow{Partition: p.Path, User: user + "@"}) { // of before OneRoot
		if row.Partition != p.Path || !strings.HasPrefix(row.User, user+"@") {
			break
		}
		use += v.decayed(row, p, now)
	}
	return use
}

func (v *View) decayed(row *useRow, p *api.Partition, now time.Time) float64 {
	half := time.Duration(p.HalfLife)
	if v.Does(IntegerLearning) {
		return time.Duration(decayed(row.Value, row.At, now, half)).Seconds()
	}
	return decayedFloat(row.float, row.At, now, half)
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
