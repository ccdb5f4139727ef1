package cli

import (
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/api/cli/specfile"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

// This file applies one document after the other, to a cluster with programs that know
// no other way.

func (a *app) applyEach(c *cli.Context, cl *client.Client, docs *specfile.Docs) error {
	a.progress("! this cluster changes one partition or job at a time (see `mesita cluster level`): if one is refused, those before it are done")
	if c.Bool("dry-run") {
		return a.planDocs(c, cl, docs)
	}
	if err := a.applyPartitions(c, cl, docs.Partitions); err != nil {
		return err
	}
	return a.applyJobs(c, cl, docs.Jobs)
}

// applyPartitions makes the partitions be as told. A guarantee may have to
// shrink before another one fits, and a parent to be there before its child:
// what is refused is tried again for as long as others succeed.
func (a *app) applyPartitions(c *cli.Context, cl *client.Client, left []*api.Partition) error {
	for len(left) > 0 {
		var refused []*api.Partition
		var first error
		for _, p := range left {
			old, err := cl.Partition(c.Context, p.Path)
			if api.ErrorCode(err) == api.CodeNotFound {
				old, err = &api.PartitionStatus{}, nil
			}
			if err != nil {
				return api.InField(p.Path, err)
			}
			change, err := cl.PutPartition(c.Context, p, false)
			switch api.ErrorCode(err) {
			case "":
				if err := a.printChange(c, change, option.Differences(old.Partition, change.Partition)); err != nil {
					return err
				}
				continue
			case api.CodeInvalid, api.CodeDoesNotFit, api.CodeNotFound, api.CodeConflict:
				refused = append(refused, p)
				if first == nil {
					first = api.InField(p.Path, err)
				}
			default:
				return api.InField(p.Path, err)
			}
		}
		if len(refused) == len(left) {
			return first
		}
		left = refused
	}
	return nil
}

// planDocs says what apply would do. What depends on a partition that the file
// only makes is not known to the cluster yet.
func (a *app) planDocs(c *cli.Context, cl *client.Client, docs *specfile.Docs) error {
	made, was := map[string]bool{}, map[string]*api.Partition{}
	for _, p := range docs.Partitions {
		old, err := cl.Partition(c.Context, p.Path)
		switch {
		case err == nil:
			was[p.Path] = old.Partition
		case api.ErrorCode(err) == api.CodeNotFound:
			made[p.Path] = true
		default:
			return api.InField(p.Path, err)
		}
	}
	for _, p := range docs.Partitions {
		change, err := cl.PlanPartition(c.Context, p, false)
		if made[p.Parent()] && api.ErrorCode(err) == api.CodeNotFound {
			full := *p
			full.Normalize()
			change, err = &api.PartitionChange{Partition: &full, Action: "create"}, nil
		}
		if err != nil {
			return api.InField(p.Path, err)
		}
		if err := a.printChange(c, change, option.Differences(was[p.Path], change.Partition)); err != nil {
			return err
		}
	}
	for _, s := range docs.Jobs {
		if made[s.Partition] {
			a.progress("job %s would be made in partition %s, which this file makes: where it goes is not known before", s.Name, s.Partition)
			continue
		}
		if err := a.plan(c, cl, s, nil); err != nil {
			return api.InField(s.Name, err)
		}
	}
	return nil
}

func (a *app) applyJobs(c *cli.Context, cl *client.Client, specs []*api.JobSpec) error {
	var services []*api.JobSpec
	for _, s := range specs {
		j, err := cl.Apply(c.Context, s)
		if err != nil {
			return api.InField(s.Name, err)
		}
		if err := a.printJob(c, j); err != nil {
			return err
		}
		if j.Spec.Kind == api.KindService {
			services = append(services, j.Spec)
		}
	}
	return a.awaitAll(c, cl, services)
}
