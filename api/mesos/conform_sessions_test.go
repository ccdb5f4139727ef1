package mesos_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/api"
)

// A subscription begins with who it is of, and a sign of life, which comes again and again.
func TestSubscribe(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		f := c.nodes["oak"].open(obj{"framework_info": info(nil), "suppressed_roles": []any{"*"}})
		e := <-f.events
		if e["type"] != "SUBSCRIBED" || at(e, "subscribed", "heartbeat_interval_seconds") != 15.0 || str(e, "subscribed", "framework_id", "value") == "" {
			t.Errorf("%v", e)
		}
		m := at(e, "subscribed", "master_info")
		if at(m, "ip") != 10+256*256*256*1.0 || at(m, "port") != 5050.0 || str(m, "address", "ip") != "10.0.0.1" || str(m, "hostname") != "oak" || str(m, "version") != "1.11.0" || str(m, "pid") != "master@10.0.0.1:5050" {
			t.Errorf("%v", m)
		}
		if len(f.stream) < 36 || len(f.stream) > 128 {
			t.Errorf("stream id %q", f.stream)
		}
		last := time.Now()
		for i := range 5 {
			e := <-f.events
			if e["type"] != "HEARTBEAT" || len(e) != 1 {
				t.Errorf("%v", e)
			}
			if took := time.Since(last); i == 0 && took > 0 || i > 0 && took != 15*time.Second {
				t.Errorf("heartbeat %d after %s", i, took)
			}
			last = time.Now()
		}
	})
}

// JSON is what is sent to who says nothing of what it accepts, or anything.
func TestDefaultAccept(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		body := `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root","name":"n"}}}`
		for _, accept := range [][]string{nil, {"*/*"}, {"application/*"}, {"text/plain, */*"}, {"application/x-protobuf, application/json"}, {"application/x-protobuf", "application/json"}} {
			h := http.Header{"Content-Type": {"application/json"}}
			if accept != nil {
				h["Accept"] = accept
			}
			res, conn := c.nodes["oak"].post(h, body)
			if res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%q: %s %v", accept, res.Status, res.Header)
			}
			conn.Close()
		}
		res, conn := c.nodes["oak"].post(http.Header{"Content-Type": {"application/json"}, "Accept": {"application/x-protobuf"}}, body)
		if res.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("%v", res.Header)
		}
		conn.Close()
	})
}

// What is wrong with a subscription is told by a stream of one event.
func TestRejectedSubscriptions(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		c.partition("a")
		multi := capable("MULTI_ROLE")
		for says, subscribe := range map[string]obj{
			"cannot end with a slash":                       {"framework_info": info(obj{"role": "a/"})},
			"two adjacent slashes":                          {"framework_info": info(obj{"role": "a//b"})},
			"'..' is disallowed":                            {"framework_info": info(obj{"role": "a/.."})},
			"'*' is disallowed":                             {"framework_info": info(obj{"role": "a/*"})},
			"cannot start with a dash":                      {"framework_info": info(obj{"role": "-a"})},
			"cannot contain whitespace":                     {"framework_info": info(obj{"role": "a b"})},
			"Role 'b' is not present":                       {"framework_info": info(obj{"role": "b"})},
			"Suppressed role 'a' is not contained":          {"framework_info": info(nil), "suppressed_roles": []any{"a"}},
			"The framework failover_timeout (-1) is":        {"framework_info": info(obj{"failover_timeout": -1})},
			"The framework failover_timeout (1e+300) is":    {"framework_info": info(obj{"failover_timeout": 1e300})},
			"'FrameworkInfo.roles' contains duplicate":      {"framework_info": info(obj{"roles": []any{"a", "a"}, "capabilities": multi})},
			"'FrameworkInfo.role' must not be set when":     {"framework_info": info(obj{"role": "a", "capabilities": multi})},
			"'FrameworkInfo.roles' must not be set when th": {"framework_info": info(obj{"roles": []any{"a"}})},
			"Framework ID is invalid: '../x' contains":      {"framework_info": info(obj{"id": value("../x")})},
		} {
			f := c.nodes["oak"].open(subscribe)
			f.ends(says)
			if f.stream == "" {
				t.Error("no stream id")
			}
		}
		if n := c.store.View().FrameworkCount(); n != 0 {
			t.Errorf("%d frameworks are registered", n)
		}
	})
}

// Who subscribes again with its id takes over: offers of before are gone without a word,
// and what was in them is offered anew.
func TestSchedulerFailover(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(obj{"failover_timeout": 60})})
		o := f.offers()
		again := f.again(c.nodes["oak"], obj{"failover_timeout": 60, "name": "other"})
		f.ends("Framework failed over")
		if again.id != f.id || again.stream == f.stream || c.store.View().Offer(o[0].id) != nil || c.store.View().Framework(f.id).Name != "other" {
			t.Errorf("%s %s, %s %s, %+v", f.id, f.stream, again.id, again.stream, c.store.View().Framework(f.id))
		}
		again.runs("t1", again.offers()[0], 3600)
		if a := f.raw(obj{"type": "REVIVE"}); a.status != 400 || !strings.Contains(a.body, "didn't match the stream ID currently associated with framework ID "+f.id) {
			t.Errorf("a call of the stream that is over: %+v", a)
		}
		again.quiet(5 * time.Minute) // the timer of the connection that is gone ends nothing
	})
}

// Subscribing again with the same id, as who got no answer does, changes nothing.
func TestSubscribedOnRetry(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(nil)})
		for range 5 {
			next := f.again(c.nodes["oak"], nil)
			if next.id != f.id {
				t.Errorf("%s, not %s", next.id, f.id)
			}
			f = next
		}
		f.offers()
		if n := c.store.View().FrameworkCount(); n != 1 {
			t.Errorf("%d frameworks", n)
		}
	})
}

// Who sends SUBSCRIBE and is gone does not stay registered.
func TestSubscribeDrop(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		body := `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root","name":"n"}}}`
		conn, err := c.nodes["oak"].dial()
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequest("POST", "http://x/api/v1/scheduler", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		if err := r.Write(conn); err != nil {
			t.Fatal(err)
		}
		conn.Close()
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(nil)})
		pause(time.Minute)
		if n := c.store.View().FrameworkCount(); n != 1 {
			t.Errorf("%d frameworks", n)
		}
		f.offers()
	})
}

// A framework that is away keeps its tasks for as long as it said, and hears what it missed.
func TestSchedulerReconnect(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(obj{"failover_timeout": 60})})
		f.runs("t1", f.offers()[0], 3600)
		f.leaves()
		pause(time.Second)
		if a := f.raw(obj{"type": "REVIVE"}); a.status != 403 || a.body != "Framework is not subscribed" {
			t.Errorf("%+v", a)
		}
		c.becomes(f.id, "t1", api.TaskFinished)
		pause(55 * time.Second)
		again := f.again(c.nodes["oak"], obj{"failover_timeout": 60})
		again.update("t1", "TASK_FINISHED")
		if again.offers()[0].cpus != 4 {
			t.Error("its filters are of the connection before")
		}
	})
}

// failover_timeout is counted on from when a framework left, whoever leads. With its end
// all that it runs ends, and its id is never of use again.
func TestFailoverTimeout(t *testing.T) {
	for name, change := range map[string]bool{"one leader": false, "another leader": true} {
		t.Run(name, func(t *testing.T) {
			conformed(t, 2, func(t *testing.T, c *cluster) {
				f := c.nodes["oak"].subscribe(obj{"framework_info": info(obj{"failover_timeout": 60})})
				o := f.offers()
				f.runs("t1", o[0], 3600)
				f.leaves()
				synctest.Wait()
				if c.store.View().Offer(o[len(o)-1].id) != nil {
					t.Error("it keeps offers while it is away")
				}
				pause(30 * time.Second)
				if change {
					c.leads("elm")
				}
				pause(29 * time.Second)
				if !c.store.View().Framework(f.id).Ended.IsZero() {
					t.Error("it is removed too early")
				}
				pause(2 * time.Second)
				row := c.store.View().FrameworkTask(f.id, "t1")
				if c.store.View().Framework(f.id).Ended.IsZero() || row != nil && row.Desired != api.DesiredStop && !row.State.Final() {
					t.Errorf("it is there still: %+v", row)
				}
				c.nodes["elm"].open(obj{"framework_info": info(obj{"id": value(f.id)})}).ends("Framework has been removed")
			})
		})
	}
}

// Who was connected to a leader that is gone may come back for as long as it said from then on, and
// its offers stand.
func TestMasterFailover(t *testing.T) {
	conformed(t, 2, func(t *testing.T, c *cluster) {
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(obj{"failover_timeout": 60})})
		o := f.offers()
		for len(o) < 2 {
			o = append(o, f.offers()...)
		}
		c.leads("elm")
		f.ends("")
		pause(30 * time.Second)
		again := f.again(c.nodes["elm"], obj{"failover_timeout": 60})
		if again.id != f.id {
			t.Errorf("%s, not %s", again.id, f.id)
		}
		if got := again.offers(); len(got) != 2 || on(got, "elm").id != on(o, "elm").id {
			t.Errorf("%v, not %v", got, o)
		}
		again.runs("t1", on(o, "elm"), 3600)
	})
}

// Who never comes back to a new leader is soon told of as away, however long its tasks run on
// without it, and is removed after that time, not twice that.
func TestWhoMissesAMasterFailoverIsAway(t *testing.T) {
	conformed(t, 2, func(t *testing.T, c *cluster) {
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(obj{"failover_timeout": 3600})})
		f.runs("t1", f.offers()[0], 7200)
		c.leads("elm")
		f.ends("")
		row := func() *api.Framework { synctest.Wait(); return c.store.View().Framework(f.id) }
		pause(14 * time.Second)
		if !row().Connected {
			t.Error("it counts as away at once")
		}
		pause(47 * time.Second)
		if row().Connected {
			t.Error("it counts as connected without a connection")
		}
		pause(59 * time.Minute)
		if !row().Ended.IsZero() {
			t.Error("it is removed too early")
		}
		pause(2 * time.Minute)
		if row().Ended.IsZero() {
			t.Error("it is there still")
		}
	})
}

// Any node serves; the leader decides, and a call may go by another node than its stream.
func TestRelay(t *testing.T) {
	conformed(t, 3, func(t *testing.T, c *cluster) {
		f := c.nodes["elm"].subscribe(obj{"framework_info": info(obj{"failover_timeout": 60})})
		o := f.offers()
		for len(o) < 3 {
			o = append(o, f.offers()...)
		}
		for i, id := range []string{"oak", "fir", "elm"} {
			f.node = c.nodes[id]
			f.runs("t"+id, o[i], 3600)
		}
		f.quiet(time.Minute)
		if a := f.ask(http.Header{"Content-Type": {"application/json"}}, `{"type":"REVIVE"}`); a.status != 400 || a.body != "Failed to validate scheduler::Call: Expecting 'framework_id' to be present" {
			t.Errorf("a refusal by way of a follower: %+v", a)
		}
		c.leads("fir")
		f.ends("")
		again := c.nodes["oak"].subscribe(obj{"framework_info": info(obj{"id": value(f.id), "failover_timeout": 60}), "suppressed_roles": []any{"*"}})
		again.reconcile()
		for range 3 {
			if s := statusIn(again.want("UPDATE")); s.state != "TASK_RUNNING" {
				t.Errorf("%v", s)
			}
		}
	})
}

// A call is of the stream that its framework has: no other's, none's, and of two headers the
// last one.
func TestStreamIDs(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		f, other := c.nodes["oak"].subscribe(obj{"framework_info": info(nil)}), c.nodes["oak"].subscribe(obj{"framework_info": info(nil)})
		body := `{"type":"TEARDOWN","framework_id":{"value":"` + f.id + `"}}`
		for name, try := range map[string]struct {
			streams []string
			says    string
		}{
			"TeardownWithoutStreamId": {nil, "All non-subscribe calls should include the 'Mesos-Stream-Id' header"},
			"TeardownWrongStreamId":   {[]string{"x"}, "The stream ID 'x' included in this request didn't match the stream ID currently associated with framework ID " + f.id},
			"another's":               {[]string{other.stream}, "The stream ID '" + other.stream + "' included in this request didn't match the stream ID currently associated with framework ID " + f.id},
			"two, the last wrong":     {[]string{f.stream, "x"}, "The stream ID 'x' included in this request didn't match the stream ID currently associated with framework ID " + f.id},
		} {
			h := http.Header{"Content-Type": {"application/json"}}
			if try.streams != nil {
				h["Mesos-Stream-Id"] = try.streams
			}
			if a := f.ask(h, body); a.status != 400 || a.body != try.says {
				t.Errorf("%s: %+v", name, a)
			}
		}
		if a := f.ask(http.Header{"Content-Type": {"application/json"}, "Mesos-Stream-Id": {"x", f.stream}}, body); a.status != 202 {
			t.Errorf("two, the last right: %+v", a)
		}
	})
}

// A framework that ends itself is gone with all that it runs, for good.
func TestTeardown(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(obj{"failover_timeout": 3600})})
		f.runs("t1", f.offers()[0], 3600)
		f.call("TEARDOWN", nil)
		f.ends("")
		if row := c.store.View().FrameworkTask(f.id, "t1"); row.Desired != api.DesiredStop {
			t.Errorf("%+v", row)
		}
		if a := f.raw(obj{"type": "REVIVE"}); a.status != 400 || a.body != "Framework cannot be found" {
			t.Errorf("%+v", a)
		}
		c.nodes["oak"].open(obj{"framework_info": info(obj{"id": value(f.id)})}).ends("Framework has been removed")
	})
}

// A framework may say anew what it is, but not whose.
func TestUpdateFramework(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		c.partition("a")
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(obj{"capabilities": capable("MULTI_ROLE"), "roles": []any{"*"}, "checkpoint": true})})
		o := f.offers()
		update := func(suppressed []any, special obj) answer {
			special["id"] = value(f.id)
			return f.raw(obj{"type": "UPDATE_FRAMEWORK", "update_framework": obj{"framework_info": info(special), "suppressed_roles": suppressed}})
		}
		all := func(special obj) obj {
			out := obj{"capabilities": capable("MULTI_ROLE"), "roles": []any{"*", "a"}, "checkpoint": true}
			for k, v := range special {
				out[k] = v
			}
			return out
		}
		for says, special := range map[string]obj{
			"Updating 'FrameworkInfo.user' is unsupported":       all(obj{"user": "other"}),
			"Updating 'FrameworkInfo.checkpoint' is unsupported": all(obj{"checkpoint": false}),
			"Role 'nowhere' is not present":                      all(obj{"roles": []any{"nowhere"}}),
			"must not be set when the framework is not MULTI":    all(obj{"capabilities": nil}),
			"failover_timeout (-1) is invalid":                   all(obj{"failover_timeout": -1}),
		} {
			if a := update(nil, special); a.status != 400 || !strings.Contains(a.body, says) {
				t.Errorf("%s: %+v", says, a)
			}
		}
		if a := update([]any{"b"}, all(nil)); a.status != 400 || !strings.Contains(a.body, "Suppressed role 'b'") {
			t.Errorf("%+v", a)
		}
		if a := update([]any{"*"}, all(obj{"name": "new", "failover_timeout": 7, "webui_url": "http://x"})); a.status != 200 || a.body != "" {
			t.Errorf("%+v", a)
		}
		row := c.store.View().Framework(f.id)
		if row.Name != "new" || row.URL != "http://x" || len(row.Partitions) != 2 || !row.Connected {
			t.Errorf("%+v", row)
		}
		f.quiet(time.Second) // what it was offered in a role that it suppressed is good still
		f.decline(0, o...)
		if o = f.offers(); str(o[0].obj, "allocation_info", "role") != "a" {
			t.Errorf("%v", o)
		}
	})
}
