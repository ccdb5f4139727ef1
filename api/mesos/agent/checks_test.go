package agent

import (
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"

	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

var jsonHeader = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}}

func with(h http.Header, kv ...string) http.Header {
	h = h.Clone()
	for i := 0; i < len(kv); i += 2 {
		h.Set(kv[i], kv[i+1])
	}
	return h
}

func of(s string) string {
	return `{"executor_id":{"value":"e"},"framework_id":{"value":"f"},` + s + `}`
}

// The checks are in the order of Mesos; those with a name have that of its test.
func TestExecutorCallChecks(t *testing.T) {
	w := newWorld(t, nil)
	before := w.send("GET", "", nil)
	if b, _ := io.ReadAll(before.Body); before.StatusCode != 503 || string(b) != notRecovered {
		t.Errorf("SubscribeBeforeContainerizerRecovery: %s %q", before.Status, b)
	}
	w.executor("e", false)
	w.executor("off", false)
	w.subscribe(wire.JSON, "e", nil)
	update := func(status string) string { return of(`"type":"UPDATE","update":{"status":{` + status + `}}`) }
	const uuid = `"uuid":"AAAAAAAAAAAAAAAAAAAAAQ=="`
	const good = `"task_id":{"value":"1"},"state":"TASK_RUNNING","source":"SOURCE_EXECUTOR","executor_id":{"value":"e"},` + uuid
	subscribe := of(`"type":"SUBSCRIBE","subscribe":{}`)
	for _, c := range []struct {
		name, method, body string
		header             http.Header
		status             int
		want               string
	}{
		{"GetRequest", "GET", "", nil, 405, "405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'."},
		{"NoContentType", "POST", subscribe, http.Header{"Accept": {"application/json"}}, 400, "Expecting 'Content-Type' to be present"},
		{"UnsupportedContentMediaType", "POST", subscribe, with(jsonHeader, "Content-Type", "application/unknown"), 415, "Expecting 'Content-Type' of application/json or application/x-protobuf"},
		{"MalformedContent, JSON", "POST", "MALFORMED_CONTENT", jsonHeader, 400, "Failed to parse body into JSON: "},
		{"MalformedContent, protobuf", "POST", "MALFORMED_CONTENT", with(jsonHeader, "Content-Type", "application/x-protobuf"), 400, "Failed to parse body into Call protobuf"},
		{"ValidJsonButInvalidProtobuf", "POST", `{"string":"valid_json"}`, jsonHeader, 400, "Failed to convert JSON into Call protobuf: Not initialized: "},
		{"ValidProtobufInvalidCall", "POST", of(`"type":"SUBSCRIBE"`), jsonHeader, 400, "Failed to validate Executor::Call: Expecting 'subscribe' to be present"},
		{"no type", "POST", of(`"subscribe":{}`), jsonHeader, 400, "Failed to validate Executor::Call: Expecting 'type' to be present"},
		{"no update", "POST", of(`"type":"UPDATE"`), jsonHeader, 400, "Failed to validate Executor::Call: Expecting 'update' to be present"},
		{"no message", "POST", of(`"type":"MESSAGE"`), jsonHeader, 400, "Failed to validate Executor::Call: Expecting 'message' to be present"},
		{"StatusUpdateCallFailedValidation, no uuid", "POST", update(strings.TrimSuffix(good, ","+uuid)), jsonHeader, 400, "Failed to validate Executor::Call: Expecting 'uuid' to be present"},
		{"StatusUpdateCallFailedValidation, short uuid", "POST", update(strings.Replace(good, uuid, `"uuid":"AAAA"`, 1)), jsonHeader, 400, "Failed to validate Executor::Call: Not a valid UUID"},
		{"StatusUpdateCallFailedValidation, no executor", "POST", update(strings.Replace(good, `"executor_id":{"value":"e"},`, "", 1)), jsonHeader, 400, "Failed to validate Executor::Call: Expecting 'executor_id' to be present"},
		{"StatusUpdateCallFailedValidation, another executor", "POST", update(strings.Replace(good, `{"value":"e"}`, `{"value":"x"}`, 1)), jsonHeader, 400, "Failed to validate Executor::Call: ExecutorID in Call: e does not match ExecutorID in TaskStatus: x"},
		{"StatusUpdateCallFailedValidation, source", "POST", update(strings.Replace(good, "SOURCE_EXECUTOR", "SOURCE_MASTER", 1)), jsonHeader, 400, "Failed to validate Executor::Call: Received Call from executor e with invalid source, expecting 'SOURCE_EXECUTOR'"},
		{"StatusUpdateCallFailedValidation, staging", "POST", update(strings.Replace(good, "TASK_RUNNING", "TASK_STAGING", 1)), jsonHeader, 400, "Failed to validate Executor::Call: 'TASK_STAGING' is not allowed"},
		{"a state that is not an executor's to say", "POST", update(strings.Replace(good, "TASK_RUNNING", "TASK_UNREACHABLE", 1)), jsonHeader, 400, "Failed to validate Executor::Call: 'TASK_UNREACHABLE' is not allowed"},
		{"in SUBSCRIBE, too", "POST", of(`"type":"SUBSCRIBE","subscribe":{"unacknowledged_updates":[{"status":{` + strings.Replace(good, "TASK_RUNNING", "TASK_STAGING", 1) + `}}]}`), jsonHeader, 400, "Failed to validate Executor::Call: 'TASK_STAGING' is not allowed"},
		{"NotAcceptable", "POST", subscribe, with(jsonHeader, "Accept", "foo"), 406, "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'"},
		{"HeartbeatCalls", "POST", of(`"type":"HEARTBEAT"`), jsonHeader, 202, ""},
		{"HeartbeatCalls, of anybody", "POST", strings.Replace(of(`"type":"HEARTBEAT"`), `"f"`, `"x"`, 1), jsonHeader, 202, ""},
		{"MessageFromUnknownFramework", "POST", strings.Replace(of(`"type":"MESSAGE","message":{"data":"aGk="}`), `"f"`, `"x"`, 1), jsonHeader, 400, "Framework cannot be found"},
		{"unknown executor", "POST", strings.Replace(of(`"type":"MESSAGE","message":{"data":"aGk="}`), `"e"`, `"x"`, 1), jsonHeader, 400, "Executor cannot be found"},
		{"not subscribed", "POST", strings.Replace(of(`"type":"MESSAGE","message":{"data":"aGk="}`), `"e"`, `"off"`, 1), jsonHeader, 403, notSubscribed},
		{"unknown type", "POST", of(`"type":"UNKNOWN"`), jsonHeader, 501, ""},
		{"too large", "POST", strings.Repeat(" ", maxBody+1), jsonHeader, 413, "The body is over 4 MiB, the most that is accepted of an executor: send it in parts"},
		{"too large when unpacked", "POST", zipped(strings.Repeat(" ", maxBody+1)), with(jsonHeader, "Content-Encoding", "gzip"), 413, "The body is over 4 MiB, the most that is accepted: send it in parts"},
	} {
		res := w.send(c.method, c.body, c.header)
		b, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != c.status || !strings.HasPrefix(string(b), c.want) || c.want == "" && len(b) > 0 {
			t.Errorf("%s: %s %q %v, want %d %q", c.name, res.Status, b, err, c.status, c.want)
		}
		if c.status == 202 && (res.Header.Get("Content-Length") != "0" || res.Header.Get("Content-Type") != "") {
			t.Errorf("%s: %v", c.name, res.Header)
		}
	}
}

// Tests of Mesos: DefaultAccept and NoAcceptHeader.
func TestExecutorIsAnsweredInJSONByDefault(t *testing.T) {
	w := newWorld(t, nil)
	w.executor("e", false)
	for _, accept := range []string{"", "*/*"} {
		h := http.Header{"Content-Type": {"application/json"}}
		if accept != "" {
			h.Set("Accept", accept)
		}
		if res := w.send("POST", of(`"type":"SUBSCRIBE","subscribe":{}`), h); res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/json" {
			t.Errorf("Accept %q: %s %v", accept, res.Status, res.Header)
		}
	}
}

// A token is of one executor; without one the node's setting decides.
func TestExecutorTokens(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MustProve = true })
	e, other := w.executor("e", false), w.executor("x", false)
	tokenOf := func(id string) string {
		row := e
		if id == "x" {
			row = other
		}
		return w.Env(row, 0, "/s")["MESOS_EXECUTOR_AUTHENTICATION_TOKEN"]
	}
	forged := tokenOf("e")
	forged = forged[:len(forged)-4] + "AAAA"
	body := of(`"type":"SUBSCRIBE","subscribe":{}`)
	for _, c := range []struct {
		name, auth string
		status     int
	}{
		{"none", "", 401}, {"another kind", "Basic eDp5", 401}, {"forged", "Bearer " + forged, 401}, {"nothing", "Bearer ", 401}, {"unsigned", "Bearer " + strings.Join(strings.Split(tokenOf("e"), ".")[:2], ".") + ".", 401},
		{"another's", "Bearer " + tokenOf("x"), 403}, {"its own", "Bearer " + tokenOf("e"), 200},
	} {
		h := jsonHeader.Clone()
		if c.auth != "" {
			h.Set("Authorization", c.auth)
		}
		res := w.send("POST", body, h)
		if res.StatusCode != c.status || c.status == 401 && res.Header.Get("Www-Authenticate") == "" {
			t.Errorf("%s: %s, want %d", c.name, res.Status, c.status)
		}
	}
}

// What an executor is told of its surroundings.
func TestExecutorEnvironment(t *testing.T) {
	w := newWorld(t, nil)
	row := w.executor("e", true)
	env := w.Env(row, 5e9, "/s")
	for k, want := range map[string]string{"MESOS_FRAMEWORK_ID": "f", "MESOS_EXECUTOR_ID": "e", "MESOS_AGENT_ENDPOINT": "127.0.0.1:5051", "MESOS_DIRECTORY": "/s", "MESOS_SANDBOX": "/s", "MESOS_SLAVE_ID": "n1",
		"MESOS_SLAVE_PID": "slave(1)@127.0.0.1:5051", "MESOS_CHECKPOINT": "1", "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": "5secs", "MESOS_RECOVERY_TIMEOUT": "15mins", "MESOS_SUBSCRIPTION_BACKOFF_MAX": "2secs"} {
		if env[k] != want {
			t.Errorf("%s=%q, want %q", k, env[k], want)
		}
	}
	if env := w.Env(w.executor("plain", false), 5e9, "/s"); env["MESOS_CHECKPOINT"] != "0" || env["MESOS_RECOVERY_TIMEOUT"] != "" {
		t.Error("an executor that does not ask for it is told how long to try to come back")
	}
	if env := w.Env(w.hosted("1", "e", nil), 0, "/s"); len(env) != 2 || env["MESOS_SANDBOX"] != "/s" {
		t.Errorf("a task has %v", env)
	}
}

// Where the ids alone are more than is passed on of a task, nothing is left to cut.
func TestStatusIsBounded(t *testing.T) {
	w := newWorld(t, nil)
	w.executor("e", false)
	w.hosted("1", "e", nil)
	w.subscribe(wire.Protobuf, "e", nil)
	s := status("e", "1", v1.TaskStateRunning, 1)
	s.TaskID.Value = strings.Repeat("x", 64<<10)
	if res := w.call(wire.Protobuf, "e", &v1.ExecutorCall{Type: new(v1.ExecutorCallTypeUpdate), Update: &v1.ExecutorCallUpdate{Status: s}}); res.StatusCode != 400 {
		t.Error(res.Status)
	}
}

func zipped(body string) string {
	var b strings.Builder
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(body)) // a Builder takes all
	_ = z.Close()
	return b.String()
}
