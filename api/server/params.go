package server

import (
	"net/http"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/server/openapi"
)

// flagWords are what a parameter takes that is on or off.
var flagWords = words("1", "0", "true", "false")

// params says what the parameters of routes mean, for the description. One name means
// the same on all of them.
func params() map[string]openapi.Param {
	all := map[string]openapi.Param{}
	say := func(about string, of openapi.Param, names ...string) {
		for _, name := range names {
			of.Name, of.About = name, about
			all[name] = of
		}
	}
	flag, number, text := openapi.Param{Words: flagWords}, openapi.Param{Of: 0}, openapi.Param{}
	say("only say what would be", flag, "dry_run")
	say("also what has ended, or was removed", flag, "all")
	say("tell those that wait and differ in their index alone as one row", flag, "fold")
	say("only of the framework with this id", text, "framework")
	say("the last task to which its framework gave this id, or the executors that have it", text, "own")
	say("only failures that are not over", flag, "open")
	say("although work is lost by it", flag, "force")
	say("only make it: a conflict if it is there", flag, "create")
	say("let its work end first", flag, "drain")
	say("continue with what is written from now on", flag, "follow")
	say("only what was refused", flag, "refused")
	say("give the command a terminal", flag, "tty")
	say("ask no other node", flag, "relayed")
	say("only if it is at this version, else a conflict", number, "if_version")
	say("only if it is at this revision, so that nobody changed it since, else a conflict", number, "if_revision")
	say("the size of the terminal", number, "rows", "cols")
	say("only the last so many lines", number, "tail")
	say("an attempt of the task; 0 is the newest that was placed, -1 the one before it", number, "attempt")
	say("a record's number", number, "number")
	say("the index of an entry", number, "of")
	say("how many at most, the newest", number, "limit")
	say("how many tasks to move at most", number, "max_moves")
	say("the page before that index", number, "before")
	say("continue after it: an index, or of a log how many bytes of both streams there were, OUT,ERR", text, "after")
	say("a time, or how long ago", text, "since", "until")
	say("how long to wait, such as 30s", text, "timeout")
	say("only what is about the object with that id", text, "for")
	say("only those of a job", text, "job")
	say("only those of a node, by its name or id", text, "node")
	say("only what is in a partition, or below it", text, "partition")
	say("only those in a state: pending, leaving, frozen, or one's name, with or without TASK_", text, "state")
	say("whether, or what, it is of", text, "id", "program", "name", "who", "on", "user", "object")
	say("only jobs with these labels, K=V", openapi.Param{Many: true}, "label")
	say("the command, a word each", openapi.Param{Many: true}, "cmd")
	say("hold the answer until so", openapi.Param{Words: waitsFor}, "wait")
	say("only of this kind", openapi.Param{Of: api.Kind(0)}, "kind")
	say("only of this kind", openapi.Param{Of: api.TokenKind(0)}, "/v1/tokens?kind")
	say("only those in this state", openapi.Param{Of: api.JobState(0)}, "/v1/jobs?state")
	say("only nodes, or only tasks; not given: both", openapi.Param{Words: targetKinds}, discoveryPath+"?kind")
	say("what is done", openapi.Param{Words: auth.Actions()}, "action")
	say("a row for each of these", openapi.Param{Words: api.ReportWays}, "by")
	say("only one of the two", openapi.Param{Words: logStreams}, "stream")
	for name, about := range exchange.PageHelp {
		of := text
		if name == "limit" {
			of = number
		}
		say(about, of, name)
	}
	return all
}

// paramsOf are those of a route.
func paramsOf(r *exchange.Route, all map[string]openapi.Param) (out []openapi.Param) {
	for _, name := range r.Params() {
		p, own := all[r.Path+"?"+name]
		if !own {
			p = all[name]
		}
		p.Name = name
		out = append(out, p)
	}
	return out
}

// headersOf are what a route looks at of a request's header, beside what is usual.
func headersOf(r *exchange.Route) (out []openapi.Param) {
	for name, about := range r.Asks {
		out = append(out, openapi.Param{Name: name, About: about})
	}
	if r.Method != get && r.Method != http.MethodHead {
		out = append(out, openapi.Param{Name: "Idempotency-Key", About: "with the same key again it is done once; a UUID, or the like"})
	}
	if r.Lists() {
		out = append(out, openapi.Param{Name: "If-None-Match", About: "the ETag of an answer: 304 if it would be the same"})
	}
	return out
}
