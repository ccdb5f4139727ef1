package api

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Code is the class of an error. It decides the HTTP status and the exit code
// of the command line, so a caller in any language can act on it.
type Code string

// The codes, one for each line of the exit code table.
const (
	CodeFailed      Code = "failed"          // the thing asked for was tried and failed
	CodeInvalid     Code = "invalid"         // the request is wrong: field, flag, value
	CodeNotFound    Code = "not_found"       //
	CodeNotAllowed  Code = "not_allowed"     // no or insufficient credentials
	CodeConflict    Code = "conflict"        // the state of the cluster forbids it now
	CodeTimeout     Code = "timeout"         // not done yet; it continues
	CodeUnavailable Code = "unavailable"     // no quorum, no leader, unreachable
	CodeDoesNotFit  Code = "does_not_fit"    // no node is large enough
	CodeBusy        Code = "busy"            // a bounded queue is full: try again
	CodeTooLarge    Code = "too_large"       // a request body over the limit
	CodeInternal    Code = "internal"        // a bug in mesita
	CodeRolledBack  Code = "rolled_back"     // a deployment went back
	CodeUnknown     Code = "outcome_unknown" // may or may not have happened: retry with the same request id
)

var codes = map[Code]struct{ http, exit int }{
	CodeFailed:      {http.StatusUnprocessableEntity, 1},
	CodeInvalid:     {http.StatusBadRequest, 2},
	CodeNotFound:    {http.StatusNotFound, 3},
	CodeNotAllowed:  {http.StatusForbidden, 4},
	CodeConflict:    {http.StatusConflict, 5},
	CodeRolledBack:  {http.StatusOK, 6},
	CodeTimeout:     {http.StatusGatewayTimeout, 7},
	CodeUnavailable: {http.StatusServiceUnavailable, 8},
	CodeUnknown:     {http.StatusBadGateway, 8},
	CodeDoesNotFit:  {http.StatusUnprocessableEntity, 9},
	CodeBusy:        {http.StatusTooManyRequests, 8},
	CodeTooLarge:    {http.StatusRequestEntityTooLarge, 2},
	CodeInternal:    {http.StatusInternalServerError, 1},
}

// HTTPStatus is the status that carries the code.
func (c Code) HTTPStatus() int {
	if v, ok := codes[c]; ok {
		return v.http
	}
	return http.StatusInternalServerError
}

// ExitCode is what the command line exits with.
func (c Code) ExitCode() int {
	if v, ok := codes[c]; ok {
		return v.exit
	}
	return 1
}

// Error is an error that crosses a border: its code and text reach the user
// unchanged, whichever node answered.
type Error struct {
	Code    Code   `json:"code"`
	Field   string `json:"field,omitempty"` // the flag, key or argument at fault
	Message string `json:"message"`         // what is wrong, and what to do next
	Exit    int    `json:"exit,omitempty"`  // what a shell would exit with, of a command that could not be run; 0 = what the code says

	Retry time.Duration `json:"-"` // when to try again, if that is known: the header Retry-After
}

// ExitCode is what the command line exits with.
func (e *Error) ExitCode() int {
	if e.Exit > 0 && e.Exit < 256 {
		return e.Exit
	}
	return e.Code.ExitCode()
}

func (e *Error) Error() string {
	if e.Field != "" {
		return e.Field + ": " + e.Message
	}
	return e.Message
}

// Errorf makes an Error.
func Errorf(code Code, format string, a ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, a...)}
}

// Doubtful is what to make of a refusal of a write that was sent before, and whose
// outcome then was not known: what it asked for may be refused because it is done
// already. Other errors stay as they are.
func Doubtful(err error) error {
	if code := ErrorCode(err); code != CodeConflict && code != CodeNotFound {
		return err
	}
	return Errorf(CodeUnknown, "it may have been done: the first try had no answer, and the next was refused, perhaps because of the first: %v; look at what is there now", err)
}

// FieldErrorf makes an invalid-input Error that names the field.
func FieldErrorf(field, format string, a ...any) *Error {
	return &Error{Code: CodeInvalid, Field: field, Message: fmt.Sprintf(format, a...)}
}

// listed is where the nouns are listed whose ids users write.
var listed = map[string]string{"job": "ps --all", "partition": "partition ls", "node": "node ls", "token": "token ls", "incident": "incidents"}

// NotFound says that nothing has that id, and where those that there are are
// listed.
func NotFound(what, id string) *Error {
	if where := listed[what]; where != "" {
		return Errorf(CodeNotFound, "no %s %q: `mesita %s` lists them", what, id, where)
	}
	return Errorf(CodeNotFound, "no %s %q", what, id)
}

// InField names the field of an error that has none yet; other errors become
// invalid-input errors.
func InField(field string, err error) error {
	if err == nil {
		return nil
	}
	var e *Error
	if !errors.As(err, &e) {
		return &Error{Code: CodeInvalid, Field: field, Message: err.Error()}
	}
	out := *e
	if out.Field == "" {
		out.Field = field
	} else if field != "" {
		out.Field = field + "." + out.Field
	}
	return &out
}

// ErrorCode is the code of err: CodeInternal if it carries none, "" if nil.
func ErrorCode(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}
