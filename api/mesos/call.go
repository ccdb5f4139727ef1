package mesos

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/mesita/mesita/api/exchange"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

// maxBody bounds a call, in bytes as sent and as unpacked; it is what one token may have
// in memory less the call's header.
const maxBody = 15 << 20

// request is a call that was read.
type request struct {
	call   v1.SchedulerCall
	kind   v1.SchedulerCallType
	accept wire.Format // of the answer
	either bool        // accept is one that the caller takes
	stream string      // Mesos-Stream-Id
	err    error       // why it is none
}

// subscribes reports whether a call may last.
func subscribes(c *exchange.Call) bool {
	r := readOnce(c)
	return r.err == nil && r.kind == v1.SchedulerCallTypeSubscribe
}

func readOnce(c *exchange.Call) *request {
	r, _ := c.Read.(*request)
	if r == nil {
		r = &request{}
		r.err = r.read(c)
		c.Read = r
	}
	return r
}

func (r *request) read(c *exchange.Call) error {
	if c.R.Method != http.MethodPost {
		return &problem{status: http.StatusMethodNotAllowed, allow: http.MethodPost,
			body: "405 Method Not Allowed. Expecting one of { 'POST' }, but received '" + c.R.Method + "'."}
	}
	format, err := formatOf(last(c.R.Header, "Content-Type"))
	if err != nil {
		return err
	}
	body, err := unpacked(c)
	if err != nil {
		return err
	}
	if err := wire.Unmarshal(format, body, &r.call); err != nil {
		var syntax *wire.SyntaxError
		switch {
		case format == wire.Protobuf:
			return bad("Failed to parse body into Call protobuf")
		case errors.As(err, &syntax):
			return bad("Failed to parse body into JSON: " + err.Error())
		}
		return bad("Failed to convert JSON into Call protobuf: " + err.Error())
	}
	if why := invalid(&r.call); why != "" {
		return bad("Failed to validate scheduler::Call: " + why)
	}
	r.kind, r.stream = *r.call.Type, last(c.R.Header, exchange.HeaderStreamID)
	r.accept, r.either = accepted(last(c.R.Header, "Accept"))
	return nil
}

// last is the value of a header that may be sent twice: Mesos goes by the last.
func last(h http.Header, name string) string {
	if v := h[http.CanonicalHeaderKey(name)]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

func formatOf(contentType string) (wire.Format, error) {
	if contentType == "" {
		return 0, bad("Expecting 'Content-Type' to be present")
	}
	kind, _, _ := strings.Cut(contentType, ";")
	kind = strings.TrimSpace(kind)
	for _, f := range []wire.Format{wire.JSON, wire.Protobuf} {
		if strings.EqualFold(kind, f.MediaType()) {
			return f, nil
		}
	}
	return 0, &problem{status: http.StatusUnsupportedMediaType, body: "Expecting 'Content-Type' of application/json or application/x-protobuf"}
}

// accepted is the form in which an answer is wanted: JSON if it may be that.
func accepted(header string) (wire.Format, bool) {
	if strings.TrimSpace(header) == "" {
		return wire.JSON, true
	}
	takes := func(f wire.Format) bool {
		for part := range strings.SplitSeq(header, ",") {
			kind, params, err := mime.ParseMediaType(part)
			if err != nil || kind != f.MediaType() && kind != "*/*" && kind != "application/*" {
				continue
			}
			if q, err := strconv.ParseFloat(params["q"], 64); err == nil && q <= 0 {
				continue
			}
			return true
		}
		return false
	}
	for _, f := range []wire.Format{wire.JSON, wire.Protobuf} {
		if takes(f) {
			return f, true
		}
	}
	return wire.JSON, false
}

// unpacked is the body of a call, which may have come compressed.
func unpacked(c *exchange.Call) ([]byte, error) {
	switch enc := strings.ToLower(strings.TrimSpace(last(c.R.Header, "Content-Encoding"))); enc {
	case "", "identity":
		return c.Body(), nil
	case "gzip":
	default:
		return nil, &problem{status: http.StatusUnsupportedMediaType, body: "Expecting 'Content-Encoding' of gzip or identity"}
	}
	z, err := gzip.NewReader(bytes.NewReader(c.Body()))
	if err != nil {
		return nil, bad("Failed to decompress request body: " + err.Error())
	}
	var out bytes.Buffer
	if _, err := out.ReadFrom(c.Charged(io.LimitReader(z, maxBody+1))); err != nil {
		return nil, bad("Failed to decompress request body: " + err.Error())
	}
	if out.Len() > maxBody {
		return nil, exchange.TooLarge(maxBody)
	}
	return out.Bytes(), nil
}

// invalid says why a call is none, "" if it is one.
func invalid(m *v1.SchedulerCall) string {
	if m.Type == nil {
		return "Expecting 'type' to be present"
	}
	id := frameworkID(m.FrameworkID)
	if *m.Type == v1.SchedulerCallTypeSubscribe {
		switch {
		case m.Subscribe == nil:
			return "Expecting 'subscribe' to be present"
		case frameworkID(m.Subscribe.FrameworkInfo.ID) != id:
			return "'framework_id' differs from 'subscribe.framework_info.id'"
		}
		return ""
	}
	if m.FrameworkID == nil {
		return "Expecting 'framework_id' to be present"
	}
	for _, need := range []struct {
		of   v1.SchedulerCallType
		name string
		has  bool
	}{
		{v1.SchedulerCallTypeAccept, "accept", m.Accept != nil},
		{v1.SchedulerCallTypeDecline, "decline", m.Decline != nil},
		{v1.SchedulerCallTypeAcceptInverseOffers, "accept_inverse_offers", m.AcceptInverseOffers != nil},
		{v1.SchedulerCallTypeDeclineInverseOffers, "decline_inverse_offers", m.DeclineInverseOffers != nil},
		{v1.SchedulerCallTypeKill, "kill", m.Kill != nil},
		{v1.SchedulerCallTypeShutdown, "shutdown", m.Shutdown != nil},
		{v1.SchedulerCallTypeAcknowledge, "acknowledge", m.Acknowledge != nil},
		{v1.SchedulerCallTypeAcknowledgeOperationStatus, "acknowledge_operation_status", m.AcknowledgeOperationStatus != nil},
		{v1.SchedulerCallTypeReconcile, "reconcile", m.Reconcile != nil},
		{v1.SchedulerCallTypeReconcileOperations, "reconcile_operations", m.ReconcileOperations != nil},
		{v1.SchedulerCallTypeMessage, "message", m.Message != nil},
		{v1.SchedulerCallTypeRequest, "request", m.Request != nil},
		{v1.SchedulerCallTypeUpdateFramework, "update_framework", m.UpdateFramework != nil},
	} {
		if *m.Type == need.of && !need.has {
			return "Expecting '" + need.name + "' to be present"
		}
	}
	switch {
	case *m.Type == v1.SchedulerCallTypeAcknowledge && len(m.Acknowledge.UUID) != 16,
		*m.Type == v1.SchedulerCallTypeAcknowledgeOperationStatus && len(m.AcknowledgeOperationStatus.UUID) != 16:
		return "Not a valid UUID"
	case *m.Type == v1.SchedulerCallTypeUpdateFramework && frameworkID(m.UpdateFramework.FrameworkInfo.ID) != id:
		return "'framework_id' differs from 'update_framework.framework_info.id'"
	}
	return ""
}

func frameworkID(id *v1.FrameworkID) string {
	if id == nil {
		return ""
	}
	return id.Value
}
