package fsm

import (
	"cmp"
	"strings"
	"time"

	"github.com/google/btree"
	"github.com/mesita/mesita/api"
)

// degree of the copy-on-write trees: measured best between 16 and 32.
const degree = 24

type taskKey struct {
	job   string
	index int
}

type pendingKey struct {
	partition string
	seq       uint64 // of the job
	taskKey
}

type endedKey struct {
	at time.Time
	id string
}

// nodeRow is a node with what its tasks and offers hold of it.
type nodeRow struct {
	node       *api.Node
	allocated  api.Resources
	reclaiming api.Resources
	offered    api.Resources
	tasks      int
	edition    uint64 // of the tables, when it was made
}

// usageRow is what the tasks of one partition hold, those of its children not
// counted.
type usageRow struct {
	path string
	api.PartitionUsage
	edition uint64 // of the tables, when it was made
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

type ageKey struct {
	at  time.Time
	key string
}

type incidentKey struct {
	kind   api.IncidentKind
	object string
	id     uint64 // not part of the order
}

type requestRow struct{ request, job string }

type baseRow struct {
	job  string
	base int
}

// tables is the whole state. Copying the struct after cloning the trees makes
// a frozen view of it.
type tables struct {
	index     uint64 // of the last applied log entry
	event     uint64 // index of the last event
	jobSeq    uint64
	incidentN uint64        // the last incident's id
	level     Level         // what apply may do
	edition   uint64        // raised with each view: a row of this one is in no view yet
	capacity  api.Resources // of the nodes that may run work, gone ones not counted
	cluster   *api.Cluster
	authority *api.Authority

	jobs       *btree.BTreeG[*api.Job]
	tasks      *btree.BTreeG[*api.Task]
	nodes      *btree.BTreeG[*nodeRow]
	partitions *btree.BTreeG[*api.Partition]
	offers     *btree.BTreeG[*api.Offer]
	tokens     *btree.BTreeG[*api.Token]
	blobs      *btree.BTreeG[*api.Blob]
	incidents  *btree.BTreeG[*api.Incident]
	runtimes   *btree.BTreeG[*runtimeRow] // what earlier runs took, by what ran
	uses       *btree.BTreeG[*useRow]

	requests  *btree.BTreeG[requestRow]
	bases     *btree.BTreeG[baseRow] // attempts used by removed jobs, by job id
	pending   *btree.BTreeG[pendingKey]
	nodeTasks *btree.BTreeG[*api.Task] // those that hold resources, by node
	ended     *btree.BTreeG[endedKey]  // jobs, oldest end first
	usage     *btree.BTreeG[*usageRow]
	frozen    *btree.BTreeG[taskKey]     // tasks stopped in place, or told to
	newest    *btree.BTreeG[incidentKey] // the newest incident of a kind and object
	ages      *btree.BTreeG[ageKey]      // runtimes, the longest unused first
}

func compareTaskKeys(a, b taskKey) int {
	return cmp.Or(strings.Compare(a.job, b.job), cmp.Compare(a.index, b.index))
}

func newTables() tables {
	byID := func(a, b string) bool { return a < b }
	return tables{
		jobs: btree.NewG(degree, func(a, b *api.Job) bool { return byID(a.ID, b.ID) }),
		tasks: btree.NewG(degree, func(a, b *api.Task) bool {
			return compareTaskKeys(taskKey{a.Job, a.Index}, taskKey{b.Job, b.Index}) < 0
		}),
		nodes:      btree.NewG(degree, func(a, b *nodeRow) bool { return byID(a.node.ID, b.node.ID) }),
		partitions: btree.NewG(degree, func(a, b *api.Partition) bool { return byID(a.Path, b.Path) }),
		offers:     btree.NewG(degree, func(a, b *api.Offer) bool { return byID(a.ID, b.ID) }),
		tokens:     btree.NewG(degree, func(a, b *api.Token) bool { return byID(a.ID, b.ID) }),
		blobs:      btree.NewG(degree, func(a, b *api.Blob) bool { return byID(a.Digest, b.Digest) }),
		requests:   btree.NewG(degree, func(a, b requestRow) bool { return byID(a.request, b.request) }),
		bases:      btree.NewG(degree, func(a, b baseRow) bool { return byID(a.job, b.job) }),
		pending: btree.NewG(degree, func(a, b pendingKey) bool {
			return cmp.Or(strings.Compare(a.partition, b.partition), cmp.Compare(a.seq, b.seq), compareTaskKeys(a.taskKey, b.taskKey)) < 0
		}),
		nodeTasks: btree.NewG(degree, func(a, b *api.Task) bool {
			return cmp.Or(strings.Compare(a.NodeID, b.NodeID), compareTaskKeys(taskKey{a.Job, a.Index}, taskKey{b.Job, b.Index})) < 0
		}),
		ended: btree.NewG(degree, func(a, b endedKey) bool {
			return cmp.Or(a.at.Compare(b.at), strings.Compare(a.id, b.id)) < 0
		}),
		incidents: btree.NewG(degree, func(a, b *api.Incident) bool { return a.ID < b.ID }),
		runtimes:  btree.NewG(degree, func(a, b *runtimeRow) bool { return byID(a.Key, b.Key) }),
		uses: btree.NewG(degree, func(a, b *useRow) bool {
			return cmp.Or(strings.Compare(a.Partition, b.Partition), strings.Compare(a.User, b.User)) < 0
		}),
		usage:  btree.NewG(degree, func(a, b *usageRow) bool { return byID(a.path, b.path) }),
		frozen: btree.NewG(degree, func(a, b taskKey) bool { return compareTaskKeys(a, b) < 0 }),
		newest: btree.NewG(degree, func(a, b incidentKey) bool {
			return cmp.Or(cmp.Compare(a.kind, b.kind), strings.Compare(a.object, b.object)) < 0
		}),
		ages: btree.NewG(degree, func(a, b ageKey) bool {
			return cmp.Or(a.at.Compare(b.at), strings.Compare(a.key, b.key)) < 0
		}),
	}
}

// freeze returns a copy that later changes of t do not touch.
func (t *tables) freeze() tables {
	t.edition++
	f := *t
	f.jobs, f.tasks, f.nodes = t.jobs.Clone(), t.tasks.Clone(), t.nodes.Clone()
	f.partitions, f.offers, f.tokens, f.blobs = t.partitions.Clone(), t.offers.Clone(), t.tokens.Clone(), t.blobs.Clone()
	f.requests, f.bases, f.pending = t.requests.Clone(), t.bases.Clone(), t.pending.Clone()
	f.nodeTasks, f.ended = t.nodeTasks.Clone(), t.ended.Clone()
	f.incidents, f.runtimes, f.uses = t.incidents.Clone(), t.runtimes.Clone(), t.uses.Clone()
	f.usage, f.frozen, f.newest, f.ages = t.usage.Clone(), t.frozen.Clone(), t.newest.Clone(), t.ages.Clone()
	return f
}
