package fsm

import (
	"cmp"
	"strings"

	"github.com/mesita/mesita/api"
)

type taskKey struct {
	job   string
	index int
}

type pendingKey struct {
	partition string
	seq       uint64 // of the job
	taskKey
}

// usageRow is what the tasks of one partition hold, those of its children not
// counted.
type usageRow struct {
	path string
	api.PartitionUsage
	news    int          // bytes of what a framework has not acknowledged
	taken   api.MilliCPU // of what is reserved, on which tasks run
	edition uint64       // of the tables, when it was made
}

// tables is the whole state. Copying the struct after forking its parts makes
// a frozen view of it.
type tables struct {
	index     uint64 // of the last applied log entry
	event     uint64 // index of the last event
	jobSeq    uint64
	incidentN uint64          // the last incident's id
	level     Level           // what apply may do
	check     *api.StateCheck // the last; nil: none yet
	logHash   uint64          // of the entries since StateChecks
	edition   uint64          // raised with each view: a row of this one is in no view yet
	capacity  api.Resources   // of the nodes that may run work, gone ones not counted
	cluster   *api.Cluster
	authority *api.Authority

	partitions table[api.Partition]
	nodes      table[nodeRow]
	jobs       table[api.Job]
	tasks      table[api.Task]
	offers     table[api.Offer]
	reserved   table[reservationRow]
	tokens     table[api.Token]
	blobs      table[api.Blob]
	bases      table[baseRow]
	incidents  table[api.Incident]
	runtimes   table[runtimeRow]
	uses       table[useRow]
	frameworks table[api.Framework]
	news       table[newsRow]
	accounts   accounts

	// An index holds pointers to rows, which a new level may have rewritten since, where
	// that will do: each other kind of value is 40 KB of program.
	requests  index[*api.Job]
	pending   index[pendingKey]
	nodeTasks index[*api.Task] // those that hold resources, by node
	ended     index[*api.Job]  // oldest end first
	owners    index[*ownerRow]
	programs  index[*programRow]
	usage     index[*usageRow]
	frozen    index[*api.Task]     // tasks stopped in place, or told to
	leaving   index[*api.Task]     // tasks that were told that they will have to end
	newest    index[*api.Incident] // the newest incident of a kind and object
	ages      index[*runtimeRow]   // runtimes, the longest unused first

	frameworkTasks   index[*api.Task]      // by framework and its own id of the task, which it may give again to the next
	executors        index[*api.Task]      // that have not ended, with what they run
	jobsOfFrameworks index[*api.Job]       // by framework
	endedFrameworks  index[*api.Framework] // oldest end first
	frameworkUsage   index[*usageRow]      // of each framework in each partition
	newsUse          index[*usageRow]      // of each framework, by its id
}

// parts are all tables and indexes, in the order in which a snapshot has them:
// a row comes after those that its indexes look at.
func (t *tables) parts() [32]part {
	return [...]part{&t.partitions, &t.nodes, &t.reserved, &t.jobs, &t.tasks, &t.offers, &t.tokens, &t.blobs, &t.bases, &t.incidents, &t.runtimes, &t.uses, &t.accounts, &t.frameworks, &t.news,
		&t.requests, &t.pending, &t.nodeTasks, &t.ended, &t.owners, &t.programs, &t.usage, &t.frozen, &t.leaving, &t.newest, &t.ages,
		&t.frameworkTasks, &t.executors, &t.jobsOfFrameworks, &t.endedFrameworks, &t.frameworkUsage, &t.newsUse}
}

func compareTaskKeys(a, b taskKey) int {
	return cmp.Or(strings.Compare(a.job, b.job), cmp.Compare(a.index, b.index))
}

func compareTasks(a, b *api.Task) int {
	return compareTaskKeys(taskKey{a.Job, a.Index}, taskKey{b.Job, b.Index})
}

func newTables() tables {
	return tables{
		partitions: newTable(&partitionNoun), nodes: newTable(&nodeNoun), jobs: newTable(&jobNoun), tasks: newTable(&taskNoun),
		offers: newTable(&offerNoun), tokens: newTable(&tokenNoun), blobs: newTable(&blobNoun), bases: newTable(&baseNoun),
		incidents: newTable(&incidentNoun), runtimes: newTable(&runtimeNoun), uses: newTable(&useNoun), accounts: newAccounts(),
		frameworks: newTable(&frameworkNoun), news: newTable(&newsNoun), reserved: newTable(&reservationNoun),

		requests: newIndex(func(a, b *api.Job) bool { return a.Request < b.Request }),
		pending: newIndex(func(a, b pendingKey) bool {
			return cmp.Or(strings.Compare(a.partition, b.partition), cmp.Compare(a.seq, b.seq), compareTaskKeys(a.taskKey, b.taskKey)) < 0
		}),
		nodeTasks: newIndex(func(a, b *api.Task) bool {
			return cmp.Or(strings.Compare(a.NodeID, b.NodeID), compareTasks(a, b)) < 0
		}),
		ended:    newIndex(func(a, b *api.Job) bool { return cmp.Or(a.Ended.Compare(b.Ended), strings.Compare(a.ID, b.ID)) < 0 }),
		owners:   newIndex(func(a, b *ownerRow) bool { return a.user < b.user }),
		programs: newIndex(func(a, b *programRow) bool { return a.digest < b.digest }),
		usage:    newIndex(func(a, b *usageRow) bool { return a.path < b.path }),
		frozen:   newIndex(func(a, b *api.Task) bool { return compareTasks(a, b) < 0 }),
		leaving:  newIndex(func(a, b *api.Task) bool { return compareTasks(a, b) < 0 }),
		newest: newIndex(func(a, b *api.Incident) bool {
			return cmp.Or(cmp.Compare(a.Kind, b.Kind), strings.Compare(a.Object, b.Object)) < 0
		}),
		ages:           newIndex(func(a, b *runtimeRow) bool { return cmp.Or(a.Used.Compare(b.Used), strings.Compare(a.Key, b.Key)) < 0 }),
		frameworkTasks: newIndex(func(a, b *api.Task) bool { return compareFrameworkTasks(a, b) < 0 }),
		executors:      newIndex(func(a, b *api.Task) bool { return compareExecutors(a, b) < 0 }),
		jobsOfFrameworks: newIndex(func(a, b *api.Job) bool {
			return cmp.Or(strings.Compare(a.Framework, b.Framework), strings.Compare(a.ID, b.ID)) < 0
		}),
		endedFrameworks: newIndex(func(a, b *api.Framework) bool {
			return cmp.Or(a.Ended.Compare(b.Ended), strings.Compare(a.ID, b.ID)) < 0
		}),
		frameworkUsage: newIndex(func(a, b *usageRow) bool { return a.path < b.path }),
		newsUse:        newIndex(func(a, b *usageRow) bool { return a.path < b.path }),
	}
}

// freeze returns a copy that later changes of t do not touch.
func (t *tables) freeze() tables {
	t.edition++
	f := *t
	for _, p := range f.parts() {
		p.fork()
	}
	return f
}
