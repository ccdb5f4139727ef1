package node

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/mesos/call"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

const (
	maxCall   = 1 << 20   // bytes of a call
	maxFirst  = 16 << 10  // bytes of a call that is the first of records: nobody knows yet what its sender may do
	maxRecord = 512 << 10 // bytes of a record of input
)

const recordIO = "application/recordio"

// forbidden is a refusal that is recorded as one.
func forbidden(why string) error { return api.Errorf(api.CodeNotAllowed, "%s", why) }

func unavailable(why string) error {
	return &call.Problem{Status: http.StatusServiceUnavailable, Body: why}
}

func missing(id *v1.ContainerID) error {
	return &call.Problem{Status: http.StatusNotFound, Body: "Container " + named(id) + " cannot be found"}
}

func notFound(what string) error { return &call.Problem{Status: http.StatusNotFound, Body: what} }

// request is a call that was read.
type request struct {
	call    v1.AgentCall
	kind    v1.AgentCallType
	accept  wire.Format // of the answer, or of its records
	records *wire.RecordReader
	format  wire.Format // of the records that follow
	err     error       // why it is none
}

func readOnce(c *exchange.Call) *request {
	return exchange.Once(c, func(r *request) { r.err = r.read(c) })
}

// read reads a call. The order of its checks is that of Mesos.
func (r *request) read(c *exchange.Call) error {
	var err error
	if streamed := media(call.Last(c.R.Header, "Content-Type")) == recordIO; streamed && c.R.Method == http.MethodPost {
		err = r.readRecord(c)
	} else {
		err = r.readWhole(c)
	}
	if err != nil {
		return err
	}
	if why := invalid(&r.call); why != "" {
		return call.Bad("Failed to validate agent::Call: " + why)
	}
	r.kind = *r.call.Type
	switch input := r.kind == v1.AgentCallTypeAttachContainerInput; {
	case input && r.records == nil:
		return &call.Problem{Status: http.StatusUnsupportedMediaType, Body: "Expecting 'Content-Type' to be " + recordIO + " for " + r.kind.String() + " call"}
	case !input && r.records != nil:
		return &call.Problem{Status: http.StatusUnsupportedMediaType, Body: "Streaming 'Content-Type' " + recordIO + " is not supported for " + r.kind.String() + " call"}
	}
	return r.answered(c.R.Header)
}

// answered says in what form the call is to be answered.
func (r *request) answered(h http.Header) error {
	switch {
	case answersRecords(r.kind):
		if !call.Takes(h, "Accept", recordIO) {
			return &call.Problem{Status: http.StatusNotAcceptable, Body: "Expecting 'Accept' to allow " + recordIO + " for " + r.kind.String() + " call"}
		}
		var either bool
		if r.accept, either = call.AcceptedAs(h, "Message-Accept"); !either {
			return &call.Problem{Status: http.StatusNotAcceptable, Body: "Expecting 'Message-Accept' to allow application/json or application/x-protobuf"}
		}
		return nil
	case h.Get("Message-Accept") != "" && r.records == nil:
		return &call.Problem{Status: http.StatusNotAcceptable, Body: "Expecting 'Message-Accept' to be not set for a call that is not answered with a stream"}
	}
	var either bool
	if r.accept, either = call.Accepted(h); !either && r.records == nil {
		return call.NotAcceptable()
	}
	return nil
}

func media(contentType string) string {
	kind, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(kind))
}

func (r *request) readWhole(c *exchange.Call) error {
	if c.R.ContentLength > maxCall {
		c.RefuseBody()
		return tooLarge()
	}
	var body bytes.Buffer
	control := http.NewResponseController(c.W)
	_ = control.SetReadDeadline(time.Now().Add(c.Patience.Body)) // an in-memory writer has none
	if _, err := body.ReadFrom(c.Charged(http.MaxBytesReader(c.W, c.R.Body, maxCall))); err != nil {
		c.RefuseBody()
		if errors.As(err, new(*http.MaxBytesError)) {
			return tooLarge()
		}
		return call.Bad("Failed to read the body: " + err.Error())
	}
	_ = control.SetReadDeadline(time.Time{})
	return call.Read(c.R, body.Bytes(), maxCall, c.Charged, &r.call)
}

func tooLarge() error {
	return &call.Problem{Status: http.StatusRequestEntityTooLarge, Body: "The body is over 1 MiB, the most that is accepted of a call"}
}

// readRecord reads the first record of a stream, which is the call.
func (r *request) readRecord(c *exchange.Call) error {
	kind := call.Last(c.R.Header, "Message-Content-Type")
	switch media(kind) {
	case "":
		return call.Bad("Expecting 'Message-Content-Type' to be set for streaming requests")
	case wire.JSON.MediaType():
		r.format = wire.JSON
	case wire.Protobuf.MediaType():
		r.format = wire.Protobuf
	default:
		return &call.Problem{Status: http.StatusUnsupportedMediaType, Body: "Expecting 'Message-Content-Type' of application/json or application/x-protobuf"}
	}
	r.records = wire.NewRecordReader(c.R.Body, maxFirst)
	control := http.NewResponseController(c.W)
	_ = control.SetReadDeadline(time.Now().Add(c.Patience.Body)) // an in-memory writer has none
	err := r.next(&r.call)
	if err != nil {
		c.RefuseBody()
		return err
	}
	_ = control.SetReadDeadline(time.Time{})
	return nil
}

// next reads a record.
func (r *request) next(m any) error {
	b, err := r.records.Next()
	if err != nil {
		return call.Bad("Failed to read a record: " + err.Error())
	}
	return decode(r.format, b, m)
}

func decode(f wire.Format, b []byte, m any) error {
	if err := wire.Unmarshal(f, b, m); err != nil {
		return call.Bad("Failed to parse a record into Call: " + err.Error())
	}
	return nil
}

// invalid says why a call is none, "" if it is one.
func invalid(m *v1.AgentCall) string {
	if m.Type == nil {
		return "Expecting 'type' to be present"
	}
	for _, need := range []struct {
		of  v1.AgentCallType
		has bool
	}{
		{v1.AgentCallTypeListFiles, m.ListFiles != nil},
		{v1.AgentCallTypeReadFile, m.ReadFile != nil},
		{v1.AgentCallTypeSetLoggingLevel, m.SetLoggingLevel != nil},
		{v1.AgentCallTypeLaunchNestedContainer, m.LaunchNestedContainer != nil},
		{v1.AgentCallTypeLaunchNestedContainerSession, m.LaunchNestedContainerSession != nil},
		{v1.AgentCallTypeWaitNestedContainer, m.WaitNestedContainer != nil},
		{v1.AgentCallTypeKillNestedContainer, m.KillNestedContainer != nil},
		{v1.AgentCallTypeRemoveNestedContainer, m.RemoveNestedContainer != nil},
		{v1.AgentCallTypeLaunchContainer, m.LaunchContainer != nil},
		{v1.AgentCallTypeWaitContainer, m.WaitContainer != nil},
		{v1.AgentCallTypeKillContainer, m.KillContainer != nil},
		{v1.AgentCallTypeRemoveContainer, m.RemoveContainer != nil},
		{v1.AgentCallTypeAttachContainerOutput, m.AttachContainerOutput != nil},
		{v1.AgentCallTypeAttachContainerInput, m.AttachContainerInput != nil},
	} {
		if *m.Type == need.of && !need.has {
			return "Expecting '" + strings.ToLower(need.of.String()) + "' to be present"
		}
	}
	return invalidContainer(m)
}

// containerOf is the container that a call is about, nil if it is about none.
func containerOf(m *v1.AgentCall) *v1.ContainerID {
	switch *m.Type {
	case v1.AgentCallTypeLaunchNestedContainer:
		return m.LaunchNestedContainer.ContainerID
	case v1.AgentCallTypeLaunchNestedContainerSession:
		return m.LaunchNestedContainerSession.ContainerID
	case v1.AgentCallTypeWaitNestedContainer:
		return m.WaitNestedContainer.ContainerID
	case v1.AgentCallTypeKillNestedContainer:
		return m.KillNestedContainer.ContainerID
	case v1.AgentCallTypeRemoveNestedContainer:
		return m.RemoveNestedContainer.ContainerID
	case v1.AgentCallTypeLaunchContainer:
		return m.LaunchContainer.ContainerID
	case v1.AgentCallTypeWaitContainer:
		return m.WaitContainer.ContainerID
	case v1.AgentCallTypeKillContainer:
		return m.KillContainer.ContainerID
	case v1.AgentCallTypeRemoveContainer:
		return m.RemoveContainer.ContainerID
	case v1.AgentCallTypeAttachContainerOutput:
		return m.AttachContainerOutput.ContainerID
	case v1.AgentCallTypeAttachContainerInput:
		return m.AttachContainerInput.ContainerID
	}
	return nil
}

func invalidContainer(m *v1.AgentCall) string {
	id := containerOf(m)
	if *m.Type == v1.AgentCallTypeAttachContainerInput {
		switch in := m.AttachContainerInput; {
		case in.Type == nil:
			return "Expecting 'attach_container_input.type' to be present"
		case *in.Type != v1.AgentCallAttachContainerInputTypeContainerID:
			return "Expecting the first 'attach_container_input' to be of type CONTAINER_ID"
		case id == nil:
			return "Expecting 'attach_container_input.container_id' to be present"
		}
	}
	for _, p := range parts(id) {
		if why := invalidID(p); why != "" {
			return why
		}
	}
	return ""
}

const maxID = 255 // bytes

// invalidID refuses what may not be the id of a container, as it may come to name a file.
func invalidID(id string) string {
	switch {
	case id == "":
		return "'ContainerID.value' must be non-empty"
	case len(id) > maxID:
		return "'ContainerID.value' must not be longer than 255 bytes"
	case id == "." || id == "..":
		return "'ContainerID.value' '" + id + "' is disallowed"
	case strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '/' || r == '\\' || r == 0xfffd }):
		return "'ContainerID.value' contains invalid characters"
	}
	return ""
}

// answersRecords reports whether a call is answered with what a command or task prints.
func answersRecords(k v1.AgentCallType) bool {
	return k == v1.AgentCallTypeAttachContainerOutput || k == v1.AgentCallTypeLaunchNestedContainerSession
}

// lasts reports whether a call may last.
func lasts(c *exchange.Call) bool {
	r := readOnce(c)
	return r.err == nil && (answersRecords(r.kind) || calls[r.kind].lasts)
}

// recorded reports whether a call is to be: what changes something, or reads what tasks
// wrote.
func recorded(c *exchange.Call) bool {
	r := readOnce(c)
	return r.err == nil && calls[r.kind].recorded
}

// does is what is done of a call.
type does struct {
	do              func(s *Server, c *exchange.Call, r *request) (any, error)
	lasts, recorded bool
}

// calls are those that have an answer here.
var calls = map[v1.AgentCallType]does{
	v1.AgentCallTypeGetHealth:       {do: (*Server).getHealth},
	v1.AgentCallTypeGetFlags:        {do: (*Server).getFlags},
	v1.AgentCallTypeGetVersion:      {do: (*Server).getVersion},
	v1.AgentCallTypeGetMetrics:      {do: (*Server).getMetrics},
	v1.AgentCallTypeGetLoggingLevel: {do: (*Server).getLoggingLevel},
	v1.AgentCallTypeGetState:        {do: (*Server).getState},
	v1.AgentCallTypeGetContainers:   {do: (*Server).getContainers},
	v1.AgentCallTypeGetFrameworks:   {do: (*Server).getFrameworks},
	v1.AgentCallTypeGetExecutors:    {do: (*Server).getExecutors},
	v1.AgentCallTypeGetOperations:   {do: (*Server).getOperations},
	v1.AgentCallTypeGetTasks:        {do: (*Server).getTasks},
	v1.AgentCallTypeGetAgent:        {do: (*Server).getAgent},

	v1.AgentCallTypeListFiles: {do: (*Server).listFiles},
	v1.AgentCallTypeReadFile:  {do: (*Server).readFile, recorded: true},

	v1.AgentCallTypeLaunchNestedContainer:        {do: (*Server).launchNested, recorded: true},
	v1.AgentCallTypeLaunchNestedContainerSession: {do: (*Server).session, recorded: true},
	v1.AgentCallTypeWaitNestedContainer:          {do: (*Server).waitNested, lasts: true},
	v1.AgentCallTypeKillNestedContainer:          {do: (*Server).killNested, recorded: true},
	v1.AgentCallTypeRemoveNestedContainer:        {do: (*Server).removeNested, recorded: true},
	v1.AgentCallTypeLaunchContainer:              {do: (*Server).launchNested, recorded: true},
	v1.AgentCallTypeWaitContainer:                {do: (*Server).waitNested, lasts: true},
	v1.AgentCallTypeKillContainer:                {do: (*Server).killNested, recorded: true},
	v1.AgentCallTypeRemoveContainer:              {do: (*Server).removeNested, recorded: true},

	v1.AgentCallTypeAttachContainerInput:  {do: (*Server).attachInput, lasts: true, recorded: true},
	v1.AgentCallTypeAttachContainerOutput: {do: (*Server).attachOutput, recorded: true},
}

// serve answers one call.
func (s *Server) serve(c *exchange.Call) (any, error) {
	r := readOnce(c)
	if r.err != nil {
		return nil, r.err
	}
	if do := calls[r.kind].do; do != nil {
		return do(s, c, r)
	}
	return nil, &call.Problem{Status: http.StatusNotImplemented, Body: "mesita does not have the call " + r.kind.String()}
}
