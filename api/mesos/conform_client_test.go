package mesos_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// obj is a JSON object. What a client here knows of the API is what Mesos documents: it
// uses neither the messages of this package nor its codec.
type obj = map[string]any

func value(s string) obj { return obj{"value": s} }

func scalar(name string, n float64) obj {
	return obj{"name": name, "type": "SCALAR", "scalar": obj{"value": n}}
}

// at is what is in a document at a path of names and indices, nil if nothing is.
func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(obj)
			v = m[p]
		case int:
			a, _ := v.([]any)
			if p >= len(a) {
				return nil
			}
			v = a[p]
		}
	}
	return v
}

// str is what is at a path if it is a text.
func str(v any, path ...any) string {
	s, _ := at(v, path...).(string)
	return s
}

// answer is that to a call.
type answer struct {
	status int
	header http.Header
	body   string
}

// post sends a body by a connection of its own.
func (n *node) post(header http.Header, body string) (*http.Response, net.Conn) {
	t := n.of.t
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, "http://127.0.0.1:5050/api/v1/scheduler", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header
	c, err := n.dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() { _ = r.Write(c) }() // who refuses a body need not read it to its end
	res, err := http.ReadResponse(bufio.NewReader(c), r)
	if err != nil {
		t.Fatal(err)
	}
	return res, c
}

// ask sends a body whose answer does not last.
func (n *node) ask(header http.Header, body string) answer {
	n.of.t.Helper()
	res, c := n.post(header, body)
	defer c.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		n.of.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(b)}
}

// framework is one that is subscribed.
type framework struct {
	*node
	id, stream string
	conn       net.Conn
	events     chan obj // closed when the stream ends
	deaf       bool     // offers are of no interest
}

// info is what a framework says of itself, with what is special about it.
func info(special obj) obj {
	f := obj{"user": "root", "name": "example"}
	maps.Copy(f, special)
	return f
}

func capable(names ...string) (out []any) {
	for _, n := range names {
		out = append(out, obj{"type": n})
	}
	return out
}

// open subscribes, and takes no event.
func (n *node) open(subscribe obj) *framework {
	n.of.t.Helper()
	call := obj{"type": "SUBSCRIBE", "subscribe": subscribe}
	if id := at(subscribe, "framework_info", "id"); id != nil {
		call["framework_id"] = id
	}
	body, err := json.Marshal(call)
	if err != nil {
		n.of.t.Fatal(err)
	}
	res, c := n.post(http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}}, string(body))
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "application/json" || res.ContentLength >= 0 {
		b, _ := io.ReadAll(res.Body) // what there is of it says enough
		n.of.t.Fatalf("SUBSCRIBE by %s: %s %v: %s", n.id, res.Status, res.Header, b)
	}
	f := &framework{node: n, stream: res.Header.Get("Mesos-Stream-Id"), conn: c, events: make(chan obj, 10_000)}
	go f.read(bufio.NewReader(res.Body))
	return f
}

func (f *framework) read(r *bufio.Reader) {
	defer close(f.events)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		size, err := strconv.Atoi(strings.TrimSuffix(line, "\n"))
		b := make([]byte, max(size, 0))
		if _, short := io.ReadFull(r, b); err != nil || short != nil {
			f.events <- obj{"type": "BROKEN", "line": line}
			return
		}
		e := obj{}
		if err := json.Unmarshal(b, &e); err != nil || bytes.ContainsRune(b, '\n') {
			e = obj{"type": "BROKEN", "event": string(b)}
		}
		f.events <- e
	}
}

// subscribe subscribes, and takes the two events with which that begins.
func (n *node) subscribe(subscribe obj) *framework {
	t := n.of.t
	t.Helper()
	f := n.open(subscribe)
	first, second := <-f.events, <-f.events
	if first["type"] != "SUBSCRIBED" || second["type"] != "HEARTBEAT" {
		t.Fatalf("it begins with %v, %v", first, second)
	}
	f.id = str(first, "subscribed", "framework_id", "value")
	return f
}

// again subscribes with the id that a framework has.
func (f *framework) again(n *node, special obj) *framework {
	f.of.t.Helper()
	special = maps.Clone(special)
	if special == nil {
		special = obj{}
	}
	special["id"] = value(f.id)
	return n.subscribe(obj{"framework_info": info(special)})
}

// leaves closes the connection.
func (f *framework) leaves() {
	f.conn.Close()
	for range f.events {
	}
}

// raw is the answer to a call.
func (f *framework) raw(call obj) answer {
	f.of.t.Helper()
	call["framework_id"] = value(f.id)
	body, err := json.Marshal(call)
	if err != nil {
		f.of.t.Fatal(err)
	}
	return f.ask(http.Header{"Content-Type": {"application/json"}, "Mesos-Stream-Id": {f.stream}}, string(body))
}

// call makes one that is taken.
func (f *framework) call(kind string, parts obj) {
	f.of.t.Helper()
	call := obj{"type": kind}
	maps.Copy(call, parts)
	if a := f.raw(call); a.status != http.StatusAccepted || a.body != "" || a.header.Get("Content-Length") != "0" || a.header.Get("Content-Type") != "" {
		f.of.t.Fatalf("%s: %d %v %s", kind, a.status, a.header, a.body)
	}
}

// next takes the next event that is none of the others' heartbeats. It waits as long as a
// framework would.
func (f *framework) next() obj {
	f.of.t.Helper()
	for range 100 {
		e, ok := <-f.events
		if !ok {
			f.of.t.Fatal("the stream is at its end")
		}
		if !f.ignores(e) {
			return e
		}
	}
	f.of.t.Fatal("nothing but heartbeats")
	return nil
}

func (f *framework) ignores(e obj) bool {
	return e["type"] == "HEARTBEAT" || f.deaf && (e["type"] == "OFFERS" || e["type"] == "RESCIND")
}

func (f *framework) want(kind string) obj {
	f.of.t.Helper()
	e := f.next()
	if e["type"] != kind {
		f.of.t.Fatalf("%v, not %s", e, kind)
	}
	return e
}

// quiet takes nothing but heartbeats for that long.
func (f *framework) quiet(d time.Duration) {
	f.of.t.Helper()
	end := time.After(d)
	for {
		select {
		case e, ok := <-f.events:
			if !ok || !f.ignores(e) {
				f.of.t.Fatalf("%v, open: %v", e, ok)
			}
		case <-end:
			return
		}
	}
}

// ends takes the end of the stream, with an ERROR before it if there is a reason.
func (f *framework) ends(why string) {
	f.of.t.Helper()
	if why != "" {
		if got := str(f.want("ERROR"), "error", "message"); !strings.Contains(got, why) {
			f.of.t.Errorf("%q, not %q", got, why)
		}
	}
	if e, ok := <-f.events; ok {
		f.of.t.Errorf("%v after its end", e)
	}
}

// offered is an offer as a framework keeps it.
type offered struct {
	obj
	id, agent string
	cpus      float64
}

// offers takes an event of offers.
func (f *framework) offers() []offered {
	f.of.t.Helper()
	return offersIn(f.want("OFFERS"))
}

func offersIn(e obj) (out []offered) {
	list, _ := at(e, "offers", "offers").([]any)
	for _, o := range list {
		of := offered{obj: o.(obj), id: str(o, "id", "value"), agent: str(o, "agent_id", "value")}
		resources, _ := at(o, "resources").([]any)
		for _, r := range resources {
			if at(r, "name") == "cpus" {
				of.cpus += at(r, "scalar", "value").(float64)
			}
		}
		out = append(out, of)
	}
	return out
}

// on is the offer of one node.
func on(offers []offered, agent string) offered {
	for _, o := range offers {
		if o.agent == agent {
			return o
		}
	}
	return offered{}
}

func ids(offers ...offered) (out []any) {
	for _, o := range offers {
		out = append(out, value(o.id))
	}
	return out
}

// task is a TaskInfo of a command task.
func task(id, agent string, special obj) obj {
	t := obj{"name": id, "task_id": value(id), "agent_id": value(agent), "command": obj{"value": "sleep 100"}, "resources": []any{scalar("cpus", 0.5), scalar("mem", 64)}}
	maps.Copy(t, special)
	return t
}

// accept takes offers with one operation for each list of tasks; refuse is how long their
// rest is not wanted.
func (f *framework) accept(offers []any, refuse float64, launches ...[]any) {
	f.of.t.Helper()
	var ops []any
	for _, tasks := range launches {
		ops = append(ops, obj{"type": "LAUNCH", "launch": obj{"task_infos": tasks}})
	}
	f.call("ACCEPT", obj{"accept": obj{"offer_ids": offers, "operations": ops, "filters": obj{"refuse_seconds": refuse}}})
}

func (f *framework) decline(refuse float64, offers ...offered) {
	f.of.t.Helper()
	f.call("DECLINE", obj{"decline": obj{"offer_ids": ids(offers...), "filters": obj{"refuse_seconds": refuse}}})
}

// status is an update as a framework keeps it.
type status struct {
	obj
	task, state, reason, source, message, uuid string
}

func statusIn(e obj) status {
	s, _ := at(e, "update", "status").(obj)
	return status{s, str(s, "task_id", "value"), str(s, "state"), str(s, "reason"), str(s, "source"), str(s, "message"), str(s, "uuid")}
}

// update takes one of a task in a state.
func (f *framework) update(task, state string) status {
	f.of.t.Helper()
	s := statusIn(f.want("UPDATE"))
	if s.task != task || s.state != state {
		f.of.t.Fatalf("%s is %s, not %s %s: %v", s.task, s.state, task, state, s.obj)
	}
	if raw, err := base64.StdEncoding.DecodeString(s.uuid); s.uuid != "" && (err != nil || len(raw) != 16) {
		f.of.t.Errorf("uuid %q: %v", s.uuid, err)
	}
	return s
}

// ofMaster checks that a status is the leader's, for that reason, and asks for no answer.
func (f *framework) ofMaster(s status, reason, message string) {
	f.of.t.Helper()
	if s.source != "SOURCE_MASTER" || s.reason != reason || s.message != message || s.obj["uuid"] != nil {
		f.of.t.Errorf("%v, want %s, %q", s.obj, reason, message)
	}
}

func (f *framework) acknowledge(s status) {
	f.of.t.Helper()
	f.call("ACKNOWLEDGE", obj{"acknowledge": obj{"agent_id": s.obj["agent_id"], "task_id": value(s.task), "uuid": s.uuid}})
}

// runs starts a task on a node in all that is offered there, and acknowledges that it runs.
func (f *framework) runs(id string, o offered, refuse float64) {
	f.of.t.Helper()
	f.accept(ids(o), refuse, []any{task(id, o.agent, nil)})
	f.of.becomes(f.id, id, taskRunning)
	f.acknowledge(f.update(id, "TASK_RUNNING"))
	pause(10 * time.Millisecond) // until that is noted
}

func (f *framework) reconcile(tasks ...[2]string) {
	f.of.t.Helper()
	list := []any{}
	for _, t := range tasks {
		one := obj{"task_id": value(t[0])}
		if t[1] != "" {
			one["agent_id"] = value(t[1])
		}
		list = append(list, one)
	}
	f.call("RECONCILE", obj{"reconcile": obj{"tasks": list}})
}

func (s status) String() string { return fmt.Sprint(s.obj) }
