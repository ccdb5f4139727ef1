package server

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/admit"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
)

// mayAsItIs asks whether the caller may do what the route is for to what the path
// names. What it does not see is not there, as what never was; where the path names
// what is to be made, the handler says so.
func (c *call) mayAsItIs() error {
	v, a := c.Store.View(), c.Route.Action
	if n := v.FindNode(c.Args[0]); c.ID.Own != "" && (n == nil || n.ID != c.ID.Own) {
		return c.ID.OnlyOwn()
	}
	switch c.Route.Scope {
	case auth.OfJob:
		j := v.Job(c.Args[0])
		switch seen := j != nil && c.sight(v).job(j.ID); {
		case seen && j.Framework != "" && c.Route.Method != http.MethodDelete: // to forget it, once it ended, is its owner's
			return cmp.Or(c.mayChange(v, a, j.ID), error(decided(v, "job "+j.ID, j.Framework, "stop its tasks one by one with `mesita stop TASK`, or end the framework with `mesita framework rm`")))
		case seen:
			return c.mayChange(v, a, j.ID)
		case c.Route.Method != http.MethodPut: // which may make it
			return api.NotFound("job", c.Args[0])
		}
	case auth.OfTask:
		t, err := c.task()
		if err != nil {
			return err
		}
		return c.mayChange(v, a, t.Job)
	case auth.OfFramework:
		f, err := c.framework()
		if err != nil {
			return err
		}
		return c.mayEnd(v, a, f)
	case auth.OfOffer:
		o, err := c.offer()
		if err != nil {
			return err
		}
		return auth.May(c.ID, a, admit.Object(v, o.Partition, ""))
	case auth.OfPartition:
		return auth.May(c.ID, a, auth.Object{Partition: c.Args[0]})
	case auth.OfVouched:
		// Which partition a task is of, and whom that names, is not known on its
		// node: the one that relays has asked. Who may everywhere may ask here.
		switch {
		case c.ID.Forwarded && c.ID.Token == "":
		case auth.May(c.ID, auth.ManagePartitions, auth.Object{}) == nil:
		case a == auth.Exec:
			return api.Errorf(api.CodeNotAllowed, "this is between nodes: ask for /v1/tasks/%s/exec", c.Args[0])
		default:
			return auth.May(c.ID, a, auth.Object{})
		}
	}
	return nil
}

// decided says that nobody but its framework decides about what it runs.
func decided(v *fsm.View, what, framework, remedy string) *api.Error {
	name := ""
	if f := v.Framework(framework); f != nil {
		name = " (" + f.Name + ")"
	}
	return api.Errorf(api.CodeConflict, "%s is what framework %s%s runs, which alone decides about it: %s", what, framework, name, remedy)
}

// mayChange asks for a job as it is.
func (c *call) mayChange(v *fsm.View, a auth.Action, job string) error {
	j := v.Job(job)
	if j == nil {
		return nil
	}
	return auth.May(c.ID, a, admit.Object(v, j.Spec.Partition, cmp.Or(j.Spec.Name, j.ID)))
}

// mayFetch refuses who asks for a program of which no job is the caller's. A node
// without the state knows of none, and is asked by a voter that knew.
func (c *call) mayFetch(digest string) error {
	v, all := c.Store.View(), auth.May(c.ID, auth.Fetch, auth.Object{})
	if all == nil || !c.Cluster.HasReplica() && c.Searched() && c.ID.Token == "" {
		return nil
	}
	for j := range v.Jobs() {
		may := func(s *api.JobSpec) bool { // where it was when it ran that
			return auth.May(c.ID, auth.Fetch, admit.Object(v, s.Partition, cmp.Or(j.Spec.Name, j.ID))) == nil
		}
		if !may(j.Spec) {
			continue
		}
		if j.Spec.Needs(digest) || slices.ContainsFunc(j.History, func(o api.JobVersion) bool { return o.Spec.Needs(digest) && may(o.Spec) }) {
			return nil
		}
	}
	return all
}

// changeRights grants and revokes rights of tokens.
func changeRights(c *call) (any, error) {
	var in api.RightsChange
	if err := c.Decode(&in); err != nil {
		return nil, err
	}
	if err := in.Validate(); err != nil {
		return nil, err
	}
	if err := inPartitions("grant", c.Store.View(), in.Grant); err != nil {
		return nil, err
	}
	n, err := exchange.DoAs[int](c.Call, &fsm.TokenRights{Meta: c.Meta(), Of: c.Args[0], Grant: in.Grant, Revoke: in.Revoke})
	if api.ErrorCode(err) == api.CodeNotFound {
		return nil, noClient("", c.Args[0])
	}
	return rightsChanged{n}, err
}

// inPartitions refuses rights in a partition that is not there: with a name mistyped
// they would be of no use, or some day of another.
func inPartitions(field string, v *fsm.View, rights []string) error {
	for _, s := range rights {
		r, err := api.ParseRight(s)
		if err != nil {
			return api.InField(field, err)
		}
		if r.Partition != "" && v.Partition(r.Partition) == nil {
			return api.FieldErrorf(field, "%s: there is no partition %q: `mesita partition ls` lists them, and `mesita partition set %s` makes it", s, r.Partition, r.Partition)
		}
	}
	return nil
}

// noClient says that no client token has that name or id.
func noClient(field, who string) error {
	return &api.Error{Code: api.CodeNotFound, Field: field, Message: "no client token has the name or id " + who + ": `mesita role ls` lists them"}
}

type rightsChanged struct {
	Tokens int `json:"tokens"`
}

// getCan explains who may do what.
func getCan(c *call) (any, error) {
	who, on := c.Query.Text("who"), c.Query.Text("on")
	action, ok := auth.ActionOf(c.Query.Text("action"))
	switch {
	case c.Query.Err != nil:
		return nil, c.Query.Err
	case !ok:
		return nil, api.FieldErrorf("action", "%q is none of %s", c.Query.Text("action"), strings.Join(auth.Actions(), ", "))
	}
	v := c.Store.View()
	o, err := named(v, on, c.sight(v))
	if err != nil {
		return nil, err
	}
	var out []api.Can
	ask := func(token string, id auth.Identity) {
		can := api.Can{Token: token, Actor: id.Actor, Has: id.Has(), May: true}
		if err := auth.May(id, action, o); err != nil {
			can.May, can.Why = false, exchange.AsError(err).Message
		} else if (action == auth.Deploy || action == auth.Exec) && v.Does(fsm.TaskUsers) {
			can.RunAs = runAsText(v, id, o)
		}
		out = append(out, can)
	}
	if who == "" {
		ask(c.ID.Token, c.ID)
		return exchange.ListOf(slices.Values(out)), nil
	}
	if err := auth.May(c.ID, auth.ManageTokens, auth.Object{}); err != nil {
		return nil, api.InField("who", err)
	}
	for t := range v.Tokens() {
		if t.Kind == api.TokenClient && (t.ID == who || t.Name == who) {
			ask(t.ID, auth.OfToken(t))
		}
	}
	if len(out) == 0 {
		return nil, noClient("who", who)
	}
	return exchange.ListOf(slices.Values(out)), nil
}

// named is the partition of that path, or the job that is called so or may come to
// be: PARTITION/JOB, or JOB that is there and that the caller sees; "" = the cluster.
func named(v *fsm.View, on string, sees *sight) (auth.Object, error) {
	if on == "" {
		return auth.Object{}, nil
	}
	if v.Partition(on) != nil {
		return admit.Object(v, on, ""), nil
	}
	if j := v.Job(on); j != nil && sees.job(j.ID) {
		return admit.Object(v, j.Spec.Partition, cmp.Or(j.Spec.Name, j.ID)), nil
	}
	path := api.ParentPath(on)
	if v.Partition(path) == nil {
		return auth.Object{}, &api.Error{Code: api.CodeNotFound, Field: "on", Message: on + " is not a partition, a job or PARTITION/JOB: `mesita partition ls` lists the partitions"}
	}
	return admit.Object(v, path, strings.TrimPrefix(on[len(path):], "/")), nil
}
