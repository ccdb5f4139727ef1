package legacy

import (
	"net/http"

	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/mesos/call"
	"github.com/mesita/mesita/api/mesos/reply"
	"github.com/mesita/mesita/api/mesos/rows"
)

// legacy answers.
type legacy struct {
	Config
	proc string // where the kernel tells of the machine
}

// maxForm bounds the body of a request, in bytes.
const maxForm = 16 << 10

// pages are what is read, by paths: each is also below /master, unless it is of the node.
var pages = []struct {
	paths   []string
	fill    func(*page)
	query   []string
	local   bool // this node answers by itself, leader or not
	open    bool // for anybody
	small   bool // on any cluster, so nobody waits for a turn to have it
	strict  bool // there are other methods, which are not here
	summary string
}{
	{paths: []string{"/state", "/state.json"}, fill: (*page).state, summary: "all that there is"},
	{paths: []string{"/state-summary"}, fill: (*page).summary, summary: "nodes and frameworks, with counts of tasks"},
	{paths: []string{"/slaves", "/slaves/{id}"}, fill: (*page).slaves, query: []string{"slave_id"}, summary: "nodes"},
	{paths: []string{"/frameworks", "/frameworks/{id}"}, fill: (*page).frameworks, query: []string{"framework_id"}, summary: "frameworks with their tasks"},
	{paths: []string{"/tasks", "/tasks/{id}", "/tasks.json"}, fill: (*page).allTasks, query: []string{"limit", "offset", "order", "task_id", "framework_id"}, summary: "tasks, the newest first"},
	{paths: []string{"/roles", "/roles.json"}, fill: (*page).roles, summary: "partitions"},
	{paths: []string{"/quota"}, fill: (*page).quota, small: true, strict: true, summary: "guarantees of partitions"},
	{paths: []string{"/weights"}, fill: (*page).weights, small: true, strict: true, summary: "weights of partitions that are not 1"},
	{paths: []string{"/maintenance/schedule"}, fill: (*page).schedule, small: true, strict: true, summary: "nothing: nodes are drained when it is asked for"},
	{paths: []string{"/maintenance/status"}, fill: (*page).maintenance, small: true, summary: "nodes that are drained or stopped"},
	{paths: []string{"/flags"}, fill: (*page).flags, small: true, local: true, summary: "settings"},
	{paths: []string{"/version"}, fill: (*page).version, small: true, local: true, open: true, summary: "the version of Mesos whose APIs these are"},
	{paths: []string{"/metrics/snapshot"}, fill: (*page).metrics, small: true, query: []string{"timeout"}, local: true, summary: "metrics by the names of Mesos"},
	{paths: []string{"/system/stats.json"}, fill: (*page).stats, small: true, local: true, summary: "load and memory of the machine"},
}

const procDir = "/proc"

// Routes are those of this package, for the table of the server of frameworks.
func Routes(cfg Config) []*exchange.Route {
	return (&legacy{Config: cfg, proc: procDir}).routes()
}

func (l *legacy) routes() (table []*exchange.Route) {
	add := func(path string, r exchange.Route) {
		r.Any, r.Scope, r.Basic, r.Fails, r.Answer = true, auth.OfAny, r.Action != auth.Nothing, reply.Fails(reply.Operator), exchange.Text("")
		r.Body, r.Most = exchange.RawBody, maxForm
		for _, before := range []string{"", "/master"} {
			also := r
			also.Path = before + path
			table = append(table, &also)
		}
	}
	for i := range pages {
		p := &pages[i]
		action := auth.Look
		if p.open {
			action = auth.Nothing
		}
		handle := func(c *exchange.Call) (any, error) {
			if p.strict && c.R.Method != http.MethodGet && c.R.Method != http.MethodHead {
				return nil, &call.Problem{Status: http.StatusNotImplemented, Body: "This is not how it is changed: `mesita partition set`, `mesita node drain` and the operator API do that"}
			}
			return l.answer(c, p.local, p.small, p.fill)
		}
		for _, path := range p.paths {
			add(path, exchange.Route{Method: http.MethodGet, Action: action, Local: p.local, Routine: true, Query: append([]string{"jsonp", "_"}, p.query...), Text: true, Handle: handle, Summary: p.summary + ", as a master of Mesos tells it"})
		}
	}
	add("/health", exchange.Route{Method: http.MethodGet, Action: auth.Nothing, Local: true, Routine: true, Query: []string{"_"}, Handle: l.health, Summary: "can this node serve: 200 or 503, and nothing else"})
	add("/teardown", exchange.Route{Method: http.MethodPost, Action: auth.Deploy, Handle: l.teardown, Summary: "end a framework, frameworkId=ID as a form"})
	return table
}

// answer has a page written.
func (l *legacy) answer(c *exchange.Call, local, small bool, fill func(*page)) (any, error) {
	info, since, ok := l.Master.Master()
	if !ok {
		if info = nil; !local {
			return nil, reply.Unavailable(reply.NoLeader)
		}
	}
	return answer(c, small, func(w *writer) {
		fill(&page{writer: w, Rows: rows.Of(c.Store.View(), c.ID), of: l, call: c, query: &c.Query, info: info, since: since, addresses: map[string]string{}})
	})
}

func (l *legacy) health(c *exchange.Call) (any, error) {
	if err := c.Cluster.Healthy(); err != nil {
		return nil, reply.Unavailable(err.Error())
	}
	return reply.Done(c, http.StatusOK)
}
