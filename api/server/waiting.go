package server

import (
	"cmp"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/admit"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/fsm"
)

// setJob gives a job that waits another request; it keeps its place in the queue.
func setJob(c *call) (any, error) {
	dry, ifRevision := c.Query.Flag("dry_run"), c.Query.Index("if_revision")
	if c.Query.Err != nil {
		return nil, c.Query.Err
	}
	var in api.JobChange
	if err := c.Decode(&in); err != nil {
		return nil, err
	}
	if in.IsZero() {
		return nil, api.Errorf(api.CodeInvalid, "nothing is to change: give time, priority, partition, cpus, mem, memLimit, disk, gpus or custom")
	}
	named, err := c.job()
	if err != nil {
		return nil, err
	}
	// What it is, and who may change that, is asked of one view: it may move meanwhile.
	v := c.Store.View()
	if err := c.mayChange(v, auth.Deploy, named.ID); err != nil {
		return nil, err
	}
	old := v.Job(named.ID)
	if old == nil {
		return nil, api.NotFound("job", named.ID)
	}
	s, filled := in.Of(old)
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if err := c.admitChanged(v, old, s); err != nil {
		return nil, err
	}
	cmd := &fsm.JobSet{Meta: c.Meta(), ID: old.ID, Seq: old.Seq, IfVersion: old.Version, IfRevision: ifRevision, Spec: s, Filled: filled}
	if dry {
		return c.plan(v, s, cmd)
	}
	return c.Do(cmd)
}

// admitChanged is admit for a job that asks for something else and is the same work:
// who its tasks are stays, but where it moves to a partition that says another.
func (c *call) admitChanged(v *fsm.View, old *api.Job, s *api.JobSpec) error {
	if err := c.mayBeIn(v, s.Partition, cmp.Or(s.Name, old.ID)); err != nil {
		return err
	}
	if err := c.mayLift(s); err != nil {
		return err
	}
	if s.Partition != old.Spec.Partition && !c.mayBeRoot() && v.Does(fsm.TaskUsers) {
		switch s.User {
		case admit.MappingOf(v, c.ID.RunAs, old.Spec.Partition).User:
			s.User = "" // whom its new partition says
		case "":
			s.User = "root" // as an admin had it: who may not be that leaves it where it is
		}
		if err := admit.SettleUser(v, c.ID, s, s.Validate); err != nil {
			return err
		}
	}
	return c.hasRoom(v, s)
}

// holdJob, releaseJob and requeueJob answer the job as it is then, or with dry_run
// as it would be.
func holdJob(c *call) (any, error) { return c.tryOrDo(&fsm.JobHold{Meta: c.Meta(), ID: c.Args[0]}) }

func releaseJob(c *call) (any, error) {
	return c.tryOrDo(&fsm.JobHold{Meta: c.Meta(), ID: c.Args[0], Release: true})
}

func requeueJob(c *call) (any, error) {
	return c.tryOrDo(&fsm.JobRequeue{Meta: c.Meta(), ID: c.Args[0]})
}

func (c *call) tryOrDo(cmd fsm.Command) (any, error) {
	dry := c.Query.Flag("dry_run")
	if c.Query.Err != nil {
		return nil, c.Query.Err
	}
	if dry {
		t := c.Store.View().Trial(cmd)
		return t.Value, t.Err
	}
	return c.Do(cmd)
}
