package mesos_test

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// The dialect of Mesos' JSON: what is lenient, and what is not.
func TestDialect(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(nil), "suppressed_roles": []any{"*"}})
		f.deaf = true
		h := http.Header{"Content-Type": {"application/json"}, "Mesos-Stream-Id": {f.stream}}
		of := func(rest string) string { return `{"framework_id":{"value":"` + f.id + `"},` + rest + `}` }
		for name, try := range map[string]struct {
			body   string
			status int
			says   string
		}{
			"null is unset":                       {of(`"type":"DECLINE","decline":{"offer_ids":null,"filters":null},"accept":null,"revive":null`), 202, ""},
			"unknown fields":                      {of(`"type":"REVIVE","shiny":{"new":[1,{"a":null}]},"revive":{"rolls":1}`), 202, ""},
			"a number as a string":                {of(`"type":"DECLINE","decline":{"filters":{"refuse_seconds":"3.5"}}`), 202, ""},
			"a number as a string that is none":   {of(`"type":"DECLINE","decline":{"filters":{"refuse_seconds":"soon"}}`), 400, "Failed to convert JSON into Call protobuf: "},
			"a grace as a string":                 {of(`"type":"KILL","kill":{"task_id":{"value":"x"},"kill_policy":{"grace_period":{"nanoseconds":"5"}}}`), 202, ""},
			"a fraction where a whole one is":     {of(`"type":"KILL","kill":{"task_id":{"value":"x"},"kill_policy":{"grace_period":{"nanoseconds":0.5}}}`), 202, ""},
			"an enum's number":                    {of(`"type":5`), 400, "Failed to convert JSON into Call protobuf: "},
			"an unknown type is none":             {of(`"type":"EXPLODE"`), 400, "Failed to validate scheduler::Call: Expecting 'type' to be present"},
			"an unknown operation does nothing":   {of(`"type":"ACCEPT","accept":{"offer_ids":[],"operations":[{"type":"EXPLODE"}]}`), 202, ""},
			"a required field of a part":          {of(`"type":"KILL","kill":{}`), 400, "Failed to "},
			"a required field of a message in it": {of(`"type":"KILL","kill":{"task_id":{}}`), 400, "Failed to "},
			"a text where an object is":           {of(`"type":"KILL","kill":"t1"`), 400, "Failed to convert JSON into Call protobuf: "},
			"an object where a list is":           {of(`"type":"DECLINE","decline":{"offer_ids":{"value":"x"}}`), 202, ""},
			"bytes that are not base64":           {of(`"type":"ACKNOWLEDGE","acknowledge":{"agent_id":{"value":"a"},"task_id":{"value":"t"},"uuid":"%%%"}`), 400, "Failed to "},
			"no object":                           {`[]`, 400, "Failed to "},
			"two objects":                         {of(`"type":"REVIVE"`) + `{}`, 400, "Failed to parse body into JSON: "},
			"cut off":                             {of(`"type":"REVIVE"`)[:40], 400, "Failed to parse body into JSON: "},
			"nothing":                             {"", 400, "Failed to parse body into JSON: "},
			"deep":                                {of(`"type":"REVIVE","x":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)), 400, "Failed to "},
		} {
			if a := f.ask(h, try.body); a.status != try.status || !strings.HasPrefix(a.body, try.says) || try.says == "" && a.body != "" {
				t.Errorf("%s: %d %q, not %d %q", name, a.status, a.body, try.status, try.says)
			}
		}
		special := info(obj{"capabilities": capable("MULTI_ROLE", "TELEPATHY"), "roles": []any{"*"}, "checkpoint": "true", "failover_timeout": "60"})
		g := c.nodes["oak"].subscribe(obj{"framework_info": special})
		if row := c.store.View().Framework(g.id); time.Duration(row.Failover) != time.Minute {
			t.Errorf("%+v", row)
		}
		for range 2 { // of the kills of what is not known
			f.update("x", "TASK_LOST")
			if len(f.events) == 0 {
				break
			}
		}
	})
}

// A body has a bound, whatever is in it.
func TestOversizedCall(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(nil), "suppressed_roles": []any{"*"}})
		body := `{"type":"SUPPRESS","framework_id":{"value":"` + f.id + `"},"x":"` + strings.Repeat("x", 14<<20) + `"}`
		h := http.Header{"Content-Type": {"application/json"}, "Mesos-Stream-Id": {f.stream}}
		if a := f.ask(h, body); a.status != 202 {
			t.Errorf("14 MiB: %d %s", a.status, a.body)
		}
		if a := f.ask(h, body+strings.Repeat(" ", 2<<20)); a.status != http.StatusRequestEntityTooLarge {
			t.Errorf("16 MiB: %d %s", a.status, a.body)
		}
		f.quiet(time.Minute)
	})
}

// Calls about executors that are not there, and maintenance that there is none of, are
// taken, and nothing comes of them.
func TestCallsWithoutEffect(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(nil), "suppressed_roles": []any{"*"}})
		uuid := "AAAAAAAAAAAAAAAAAAAAAA=="
		for kind, parts := range map[string]obj{
			"MESSAGE":                      {"message": obj{"agent_id": value("oak"), "executor_id": value("x"), "data": "aGk="}},
			"SHUTDOWN":                     {"shutdown": obj{"agent_id": value("oak"), "executor_id": value("x")}},
			"ACCEPT_INVERSE_OFFERS":        {"accept_inverse_offers": obj{"inverse_offer_ids": []any{}}},
			"DECLINE_INVERSE_OFFERS":       {"decline_inverse_offers": obj{"inverse_offer_ids": []any{}}},
			"ACKNOWLEDGE_OPERATION_STATUS": {"acknowledge_operation_status": obj{"uuid": uuid, "operation_id": value("x")}},
			"RECONCILE_OPERATIONS":         {"reconcile_operations": obj{"operations": []any{}}},
			"ACKNOWLEDGE":                  {"acknowledge": obj{"agent_id": value("oak"), "task_id": value("x"), "uuid": uuid}},
		} {
			f.call(kind, parts)
		}
		f.quiet(time.Minute)
	})
}
