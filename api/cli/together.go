package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/api/cli/specfile"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

// applyTries bounds how often what was changed meanwhile is planned anew.
const applyTries = 5

// together is one request for all that documents say, until it is done or refused.
type together struct {
	docs   *specfile.Docs
	in     api.ApplyRequest
	prune  bool
	labels []string                   // of the jobs that are pruned
	yes    bool                       // those are stopped without a question
	dry    bool                       // nothing is changed
	ask    func(question string) bool // nil where nobody can be asked
	stops  map[api.StopSeen]bool      // that were shown, and were said yes to
}

func (a *app) together(c *cli.Context, docs *specfile.Docs, specs []*api.JobSpec) *together {
	t := &together{docs: docs, in: api.ApplyRequest{Partitions: docs.Partitions, Jobs: specs, Again: c.Bool("again")},
		prune: c.Bool("prune"), labels: c.StringSlice("label"), yes: c.Bool("yes"), dry: onlyLooks(c), stops: map[api.StopSeen]bool{}}
	if isTerminal(a.in) && isTerminal(a.err) {
		t.ask = a.confirm
	}
	return t
}

// do asks the cluster for all of it, again if something was changed meanwhile, and once
// a question that has to be asked is answered with yes. It is nil if that was no.
func (t *together) do(ctx context.Context, cl *client.Client) (*api.ApplyAnswer, error) {
	for try, pause := 1, backoff.New(50*time.Millisecond, time.Second); ; try++ {
		if t.prune {
			if ok, err := t.stopped(ctx, cl); err != nil || !ok {
				return nil, err
			}
		}
		answer, err := cl.ApplyAll(ctx, t.in, t.dry)
		var e *api.Error
		errors.As(err, &e)
		switch {
		case e != nil && changedMeanwhile(e) && try < applyTries:
			backoff.Pause(ctx, pause.Next())
		case e != nil && strings.HasSuffix(e.Field, "."+api.FieldAgain) && !t.in.Again && t.ask != nil:
			if !t.ask(fmt.Sprintf("%v\nLet them run again?", t.docs.Located(err))) {
				return nil, nil
			}
			t.in.Again = true
		default:
			return answer, err
		}
	}
}

// changedMeanwhile reports whether what was asked for may be asked for anew, by how
// things are now.
func changedMeanwhile(e *api.Error) bool {
	return strings.HasSuffix(e.Field, "."+api.FieldRevision) || e.Code == api.CodeNotFound && strings.HasPrefix(e.Field, "stop[")
}

// stopped chooses what is pruned as it is now, and reports whether that may be done.
func (t *together) stopped(ctx context.Context, cl *client.Client) (bool, error) {
	jobs, err := cl.Jobs(ctx, false, t.labels...)
	if err != nil {
		return false, err
	}
	t.in.Stop = pruned(jobs, t.docs.Jobs)
	var more []api.StopSeen
	var ids []string
	for _, s := range t.in.Stop {
		if !t.stops[s] {
			more, ids = append(more, s), append(ids, s.Job)
		}
	}
	switch {
	case len(more) == 0 || t.yes || t.dry:
		return true, nil
	case t.ask == nil:
		return false, usage("--prune would stop %s: %s: say yes with --yes, or look first with --dry-run", api.Count(len(more), "job"), someOf(ids))
	case !t.ask(fmt.Sprintf("No file names %s with that label: %s\nStop them?", api.Count(len(more), "job"), strings.Join(ids, ", "))):
		return false, nil
	}
	for _, s := range more {
		t.stops[s] = true
	}
	return true, nil
}

// pruned are the jobs that run or wait and that no document names. One without a name
// is not among them: no document can name it.
func pruned(jobs []*api.Job, specs []*api.JobSpec) []api.StopSeen {
	named := map[string]bool{}
	for _, s := range specs {
		named[s.Name] = true
	}
	var out []api.StopSeen
	for _, j := range jobs {
		if j.Spec.Name != "" && !named[j.ID] && !j.Stop {
			out = append(out, api.StopSeen{Job: j.ID, Revision: j.Revision})
		}
	}
	return out
}

// confirm asks on the terminal; whatever is not yes is no.
func (a *app) confirm(question string) bool {
	fmt.Fprintf(a.err, "%s [y/N] ", question)
	text, err := bufio.NewReader(a.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false
	}
	answer := strings.ToLower(strings.TrimSpace(text))
	if answer == "y" || answer == "yes" {
		return true
	}
	a.progress("nothing is done")
	return false
}
