package fsm

import "github.com/mesita/mesita/api"

// ownerRow is how many jobs of a user have not ended; who has none has no row.
type ownerRow struct {
	user string
	jobs int
}

// indexOwner keeps the count of each user's jobs in step with one of them; either may
// be nil. It is the same at every level, as a snapshot may be of before it was asked for.
func (x *tx) indexOwner(old, j *api.Job) {
	was, is := old != nil && !old.State.Ended(), j != nil && !j.State.Ended()
	if was == is && (!was || old.Actor == j.Actor) {
		return
	}
	if was {
		x.countOwner(old.Owner(), -1)
	}
	if is {
		x.countOwner(j.Owner(), 1)
	}
}

func (x *tx) countOwner(user string, n int) {
	row := &ownerRow{user: user, jobs: n}
	if old := get(x.owners.BTreeG, row); old != nil {
		row.jobs += old.jobs
	}
	if row.jobs == 0 {
		x.owners.Delete(row)
		return
	}
	x.owners.ReplaceOrInsert(row)
}

// othersHaveJobs reports whether a job that has not ended is of another user.
func (t *tables) othersHaveJobs(user string) bool {
	first, some := t.owners.Min()
	return some && (first.user != user || t.owners.Len() > 1)
}
