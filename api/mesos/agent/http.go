package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/budget"
	"github.com/mesita/mesita/api/mesos/call"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

const (
	bodyWithin  = 30 * time.Second // to send a call
	maxBody     = 4 << 20          // bytes of a call: more than what an executor has to say
	maxHeld     = 64 << 20         // bytes of calls that are read at a time
	largeBody   = 256 << 10        // bytes of a call that may need a hundred times that, so that one at a time is looked at
	messageTime = 5 * time.Second  // to take what an executor sends to its framework
)

// The answers to who cannot be served.
const (
	notRecovered  = "Agent has not finished recovery"
	notSubscribed = "Executor is not subscribed"
)

// Serves reports whether a path is of the executor API.
func Serves(path string) bool {
	switch strings.Trim(path, "/") {
	case "api/v1/executor", "slave(1)/api/v1/executor":
		return true
	}
	return false
}

var _ http.Handler = (*Desk)(nil)

// ServeHTTP answers one call of an executor.
func (d *Desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !Serves(r.URL.Path) {
		refuse(w, r, &call.Problem{Status: http.StatusNotFound, Body: "Nothing is at " + r.URL.Path + ": the executor API is at /api/v1/executor"})
		return
	}
	done, err := d.call(w, r)
	switch {
	case err != nil:
		refuse(w, r, err)
	case !done:
		answer(w, http.StatusAccepted, "")
	}
}

// refuse writes why a call was not taken.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	var p *call.Problem
	if !errors.As(err, &p) {
		p = &call.Problem{Status: http.StatusServiceUnavailable, Body: err.Error()}
	}
	if p.Allow != "" {
		w.Header().Set("Allow", p.Allow)
	}
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="mesos-agent-executor"`)
	}
	if r.Method == http.MethodHead {
		p = &call.Problem{Status: p.Status}
	}
	answer(w, p.Status, p.Body)
}

func answer(w http.ResponseWriter, status int, body string) {
	h := w.Header()
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if body != "" {
		h.Set("Content-Type", "text/plain; charset=utf-8")
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body) // the caller is gone if this fails
}

// call does what an executor calls for. The order of its checks is that of Mesos; done says
// that it is answered.
func (d *Desk) call(w http.ResponseWriter, r *http.Request) (done bool, err error) {
	if !d.isReady() {
		return false, &call.Problem{Status: http.StatusServiceUnavailable, Body: notRecovered}
	}
	claims, err := d.prove(r)
	if err != nil {
		return false, err
	}
	var m v1.ExecutorCall
	release, looked, err := d.read(w, r, &m)
	defer release()
	defer looked()
	if err != nil {
		return false, err
	}
	why := invalid(&m)
	if m.Type == nil || *m.Type != v1.ExecutorCallTypeSubscribe {
		m.Subscribe = nil // whatever else is in it goes by its type
		looked()
	}
	if why != "" {
		return false, call.Bad("Failed to validate Executor::Call: " + why)
	}
	format, takes := call.Accepted(r.Header)
	if *m.Type == v1.ExecutorCallTypeSubscribe && !takes {
		return false, call.NotAcceptable()
	}
	if *m.Type == v1.ExecutorCallTypeHeartbeat {
		return false, nil
	}
	h, err := d.caller(r.Context(), &m, claims)
	if err != nil {
		return false, err
	}
	budget.Known(r.Context(), budget.Who{Class: budget.User, Name: "executor " + h.row.ID})
	switch *m.Type {
	case v1.ExecutorCallTypeSubscribe:
		s, err := d.subscribe(h, m.Subscribe, format)
		if err != nil {
			return false, err
		}
		m = v1.ExecutorCall{} // it lasts, and needs nothing of it any more
		looked()
		release()
		s.serve(w, r)
		return true, nil
	case v1.ExecutorCallTypeUpdate:
		return false, d.update(r.Context(), h, m.Update.Status)
	case v1.ExecutorCallTypeMessage:
		d.pass(r, h, m.Message.Data)
		return false, nil
	}
	return false, &call.Problem{Status: http.StatusNotImplemented}
}

func (d *Desk) isReady() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ready
}

// read reads a call. What it holds counts until release, and until looked no other large one
// is looked at; both may be called again.
func (d *Desk) read(w http.ResponseWriter, r *http.Request, m *v1.ExecutorCall) (release, looked func(), err error) {
	var n int64
	alone := false
	looked = func() {
		if alone {
			alone = false
			<-d.large
		}
	}
	release = func() {
		d.held.Add(-n)
		n = 0
	}
	charge := func(from io.Reader) io.Reader {
		return readerFunc(func(p []byte) (int, error) {
			k, err := from.Read(p)
			n += int64(k)
			if d.held.Add(int64(k)) > maxHeld {
				return 0, &call.Problem{Status: http.StatusServiceUnavailable, Body: "This node holds all that it can of calls of executors: send it again"}
			}
			return k, err
		})
	}
	if r.ContentLength > maxBody {
		w.Header().Set("Connection", "close") // rather than read it to its end
		return release, looked, tooLarge()
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyWithin)) // an in-memory writer has none
	var body bytes.Buffer
	if _, err := body.ReadFrom(charge(http.MaxBytesReader(w, r.Body, maxBody))); err != nil {
		w.Header().Set("Connection", "close")
		var p *call.Problem
		switch {
		case errors.As(err, new(*http.MaxBytesError)):
			return release, looked, tooLarge()
		case errors.As(err, &p):
			return release, looked, p
		}
		return release, looked, call.Bad("Failed to read the body: " + err.Error())
	}
	_ = control.SetReadDeadline(time.Time{})
	if body.Len() > largeBody || r.Header.Get("Content-Encoding") != "" {
		select {
		case d.large <- struct{}{}:
			alone = true
		case <-r.Context().Done():
			return release, looked, context.Cause(r.Context())
		}
	}
	return release, looked, call.Read(r, body.Bytes(), maxBody, charge, m)
}

func tooLarge() error {
	return &call.Problem{Status: http.StatusRequestEntityTooLarge, Body: "The body is over 4 MiB, the most that is accepted of an executor: send it in parts"}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// caller is the executor that calls.
func (d *Desk) caller(ctx context.Context, m *v1.ExecutorCall, proven *claims) (*host, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.find(m.FrameworkID.Value, m.ExecutorID.Value)
	if h == nil {
		for _, other := range d.hosts {
			if other.row.Framework.Framework == m.FrameworkID.Value {
				return nil, call.Bad("Executor cannot be found")
			}
		}
		return nil, call.Bad("Framework cannot be found")
	}
	switch {
	case proven != nil && *proven != d.claimsOf(h.row):
		return nil, &call.Problem{Status: http.StatusForbidden, Body: "The token is another executor's"}
	case proven != nil:
		h.proven = true
	case h.proven:
		return nil, &call.Problem{Status: http.StatusUnauthorized, Body: "The executor showed its token, and has to with each call: it is in MESOS_EXECUTOR_AUTHENTICATION_TOKEN"}
	default:
		if err := d.stranger(ctx, h); err != nil {
			return nil, err
		}
	}
	if *m.Type != v1.ExecutorCallTypeSubscribe && h.out == nil {
		return nil, &call.Problem{Status: http.StatusForbidden, Body: notSubscribed}
	}
	return h, nil
}

// stranger refuses the calls of other users than who an executor runs as, as far as it is
// known who these are; the caller holds the lock.
func (d *Desk) stranger(ctx context.Context, h *host) error {
	uid, known := d.cfg.Peer(ctx)
	if !known || uid == 0 {
		return nil
	}
	if !h.hasUID {
		h.uid, h.hasUID = d.cfg.User(h.row, h.spec)
	}
	if !h.hasUID || h.uid == uid {
		return nil
	}
	return &call.Problem{Status: http.StatusUnauthorized, Body: "User " + strconv.Itoa(int(uid)) + " calls, and the executor runs as user " + strconv.Itoa(int(h.uid)) +
		": show its token, which is in MESOS_EXECUTOR_AUTHENTICATION_TOKEN"}
}

// pass takes what an executor sends to its framework there, which may fail.
func (d *Desk) pass(r *http.Request, h *host, data []byte) {
	ctx, cancel := withTimeout(r, messageTime)
	defer cancel()
	f := h.row.Framework
	if err := d.cfg.Message(ctx, f.Framework, f.Executor, data); err != nil {
		d.cfg.Log.Debug("what an executor sent its framework is lost", "framework", f.Framework, "executor", f.Executor, "error", err)
	}
}

// invalid says why a call is none, "" if it is one.
func invalid(m *v1.ExecutorCall) string {
	switch {
	case m.Type == nil:
		return "Expecting 'type' to be present"
	case *m.Type == v1.ExecutorCallTypeSubscribe && m.Subscribe == nil:
		return "Expecting 'subscribe' to be present"
	case *m.Type == v1.ExecutorCallTypeUpdate && m.Update == nil:
		return "Expecting 'update' to be present"
	case *m.Type == v1.ExecutorCallTypeMessage && m.Message == nil:
		return "Expecting 'message' to be present"
	case *m.Type == v1.ExecutorCallTypeUpdate:
		return invalidStatus(m.Update.Status, m.ExecutorID.Value)
	}
	if m.Subscribe == nil || *m.Type != v1.ExecutorCallTypeSubscribe {
		return ""
	}
	for _, u := range m.Subscribe.UnacknowledgedUpdates {
		if why := invalidStatus(u.Status, m.ExecutorID.Value); why != "" {
			return why
		}
	}
	return ""
}

func invalidStatus(s *v1.TaskStatus, executor string) string {
	_, known := stateOf[s.State]
	switch {
	case len(s.UUID) == 0:
		return "Expecting 'uuid' to be present"
	case len(s.UUID) != 16:
		return "Not a valid UUID"
	case s.ExecutorID == nil:
		return "Expecting 'executor_id' to be present"
	case s.ExecutorID.Value != executor:
		return "ExecutorID in Call: " + executor + " does not match ExecutorID in TaskStatus: " + s.ExecutorID.Value
	case s.Source == nil || *s.Source != v1.TaskStatusSourceExecutor:
		return "Received Call from executor " + executor + " with invalid source, expecting 'SOURCE_EXECUTOR'"
	case !known:
		return "'" + s.State.String() + "' is not allowed"
	}
	return ""
}

// stateOf has the states that an executor may say that a task is in.
var stateOf = map[v1.TaskState]api.TaskState{
	v1.TaskStateStarting: api.TaskStarting, v1.TaskStateRunning: api.TaskRunning, v1.TaskStateKilling: api.TaskKilling, v1.TaskStateFinished: api.TaskFinished,
	v1.TaskStateFailed: api.TaskFailed, v1.TaskStateKilled: api.TaskKilled, v1.TaskStateError: api.TaskError, v1.TaskStateLost: api.TaskLost,
	v1.TaskStateDropped: api.TaskDropped, v1.TaskStateGone: api.TaskGone,
}

// message is the one for the wire of a status that was completed here. Of one that is too large
// what is large is left out, and said so: refused its executor would never be rid of it, and its
// framework never hear of the end of the task.
func message(s *v1.TaskStatus) ([]byte, error) {
	b, err := wire.Marshal(wire.Protobuf, s)
	cut := "Cut, as the status has " + strconv.Itoa(len(b)) + " bytes, and at most " + strconv.Itoa(api.MaxExecutorUpdate) + " are passed on: send what is in 'data' as a MESSAGE. "
	said := cut + shortened(v1.Get(s.Message))
	for _, less := range []func(){
		func() { s.Data, s.Message = nil, &said },
		func() { s.Labels, s.CheckStatus, s.Limitation, s.ContainerStatus = nil, nil, nil, nil },
	} {
		if err != nil || len(b) <= api.MaxExecutorUpdate {
			return b, err
		}
		less()
		b, err = wire.Marshal(wire.Protobuf, s)
	}
	if err == nil && len(b) > api.MaxExecutorUpdate {
		return nil, call.Bad("Failed to validate Executor::Call: the ids in the status have " + strconv.Itoa(len(b)) + " bytes, and at most " + strconv.Itoa(api.MaxExecutorUpdate) + " are passed on")
	}
	return b, err
}
