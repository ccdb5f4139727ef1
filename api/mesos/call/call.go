// Package call reads calls of the Mesos v1 APIs, and says what is wrong with one in the
// words of Mesos: method, form, compression, message and what answer is taken.
//
// It owns what all of these APIs have alike. What a call has to hold and what is done of
// it is its API's: package mesos has the scheduler's, api/mesos/agent the executor's.
package call

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/mesita/mesita/api/mesos/wire"
)

// MaxBody bounds a call of a scheduler, in bytes; it is what one token may have in memory
// less the call's header.
const MaxBody = 15 << 20

// Problem is a refusal in the words of Mesos.
type Problem struct {
	Status int
	Body   string
	Allow  string // which methods there are, of the wrong one
}

func (p *Problem) Error() string { return p.Body }

// Bad refuses a call that is none.
func Bad(body string) *Problem { return &Problem{Status: http.StatusBadRequest, Body: body} }

// NotAcceptable refuses who takes no form that there is.
func NotAcceptable() *Problem {
	return &Problem{Status: http.StatusNotAcceptable, Body: "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'"}
}

// Read reads the body of a request, as it came, into the message that into points to.
// What is unpacked of it is read through charge, and has at most as many bytes as one that
// is sent as it is.
func Read(r *http.Request, body []byte, most int, charge func(io.Reader) io.Reader, into any) error {
	if r.Method != http.MethodPost {
		return &Problem{Status: http.StatusMethodNotAllowed, Allow: http.MethodPost,
			Body: "405 Method Not Allowed. Expecting one of { 'POST' }, but received '" + r.Method + "'."}
	}
	format, err := formatOf(Last(r.Header, "Content-Type"))
	if err != nil {
		return err
	}
	if body, err = unpacked(r.Header, body, most, charge); err != nil {
		return err
	}
	if err := wire.Unmarshal(format, body, into); err != nil {
		var syntax *wire.SyntaxError
		switch {
		case format == wire.Protobuf:
			return Bad("Failed to parse body into Call protobuf")
		case errors.As(err, &syntax):
			return Bad("Failed to parse body into JSON: " + err.Error())
		}
		return Bad("Failed to convert JSON into Call protobuf: " + err.Error())
	}
	return nil
}

// Last is the value of a header that may be sent twice: Mesos goes by the last.
func Last(h http.Header, name string) string {
	if v := h[http.CanonicalHeaderKey(name)]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

func formatOf(contentType string) (wire.Format, error) {
	if contentType == "" {
		return 0, Bad("Expecting 'Content-Type' to be present")
	}
	kind, _, _ := strings.Cut(contentType, ";")
	kind = strings.TrimSpace(kind)
	for _, f := range []wire.Format{wire.JSON, wire.Protobuf} {
		if strings.EqualFold(kind, f.MediaType()) {
			return f, nil
		}
	}
	return 0, &Problem{Status: http.StatusUnsupportedMediaType, Body: "Expecting 'Content-Type' of application/json or application/x-protobuf"}
}

// Accepted is the form in which an answer is wanted: JSON if it may be that. Not if the
// caller takes neither.
func Accepted(h http.Header) (wire.Format, bool) { return AcceptedAs(h, "Accept") }

// AcceptedAs is Accepted by another header, such as that of the messages in a stream.
func AcceptedAs(h http.Header, name string) (wire.Format, bool) {
	for _, f := range []wire.Format{wire.JSON, wire.Protobuf} {
		if Takes(h, name, f.MediaType()) {
			return f, true
		}
	}
	return wire.JSON, false
}

// Takes reports whether a header that says what is taken allows a media type; one that is
// not there allows all.
func Takes(h http.Header, name, media string) bool {
	header := Last(h, name)
	if strings.TrimSpace(header) == "" {
		return true
	}
	for part := range strings.SplitSeq(header, ",") {
		kind, params, err := mime.ParseMediaType(part)
		if err != nil || kind != media && kind != "*/*" && kind != "application/*" {
			continue
		}
		if q, err := strconv.ParseFloat(params["q"], 64); err == nil && q <= 0 {
			continue
		}
		return true
	}
	return false
}

// TooLarge refuses a body that is over the bound.
func TooLarge(most int) *Problem {
	return &Problem{Status: http.StatusRequestEntityTooLarge, Body: "The body is over " + strconv.Itoa(most>>20) + " MiB, the most that is accepted: send it in parts"}
}

// unpacked is the body of a call, which may have come compressed.
func unpacked(h http.Header, body []byte, most int, charge func(io.Reader) io.Reader) ([]byte, error) {
	switch enc := strings.ToLower(strings.TrimSpace(Last(h, "Content-Encoding"))); enc {
	case "", "identity":
		return body, nil
	case "gzip":
	default:
		return nil, &Problem{Status: http.StatusUnsupportedMediaType, Body: "Expecting 'Content-Encoding' of gzip or identity"}
	}
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, Bad("Failed to decompress request body: " + err.Error())
	}
	var out bytes.Buffer
	if _, err := out.ReadFrom(charge(io.LimitReader(z, int64(most)+1))); err != nil {
		return nil, Bad("Failed to decompress request body: " + err.Error())
	}
	if out.Len() > most {
		return nil, TooLarge(most)
	}
	return out.Bytes(), nil
}
