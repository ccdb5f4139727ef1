package api

import (
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strconv"
	"time"
)

// Code is the class of an error. It decides the HTTP status and the exit code
// of the command line, so a caller in any language can act on it.
type Code string

// The codes, one for each line of the exit code table.
const (
	CodeFailed      Code = "failed"
	CodeInvalid     Code = "invalid"
	CodeNotFound    Code = "not_found"
	CodeNotAllowed  Code = "not_allowed"
	CodeConflict    Code = "conflict"
	CodeTimeout     Code = "timeout"
	CodeUnavailable Code = "unavailable"
	CodeDoesNotFit  Code = "does_not_fit"
	CodeBusy        Code = "busy"
	CodeTooLarge    Code = "too_large"
	CodeInternal    Code = "internal"
	CodeRolledBack  Code = "rolled_back"
	CodeUnknown     Code = "outcome_unknown"
)

type codeRow struct {
	Code
	http, exit int
	about      string
}

var codes = []codeRow{
	{CodeFailed, http.StatusUnprocessableEntity, 1, "what was asked for was tried and failed"},
	{CodeInvalid, http.StatusBadRequest, 2, "the request is wrong: see field"},
	{CodeNotFound, http.StatusNotFound, 3, "there is no such object or path"},
	{CodeNotAllowed, http.StatusForbidden, 4, "no credentials (401), or too few rights"},
	{CodeConflict, http.StatusConflict, 5, "the state of the cluster forbids it now"},
	{CodeRolledBack, http.StatusOK, 6, "a deployment went back"},
	{CodeTimeout, http.StatusGatewayTimeout, 7, "not done yet; it continues; 408 is for what the caller waited for: ask again"},
	{CodeUnavailable, http.StatusServiceUnavailable, 8, "no quorum, no leader, or a node cannot be reached"},
	{CodeUnknown, http.StatusBadGateway, 8, "it may or may not have happened: repeat it with the same Idempotency-Key"},
	{CodeDoesNotFit, http.StatusUnprocessableEntity, 9, "no node is large enough"},
	{CodeBusy, http.StatusTooManyRequests, 8, "a bounded queue is full: try again"},
	{CodeTooLarge, http.StatusRequestEntityTooLarge, 2, "the request body is over the limit"},
	{CodeInternal, http.StatusInternalServerError, 1, "a bug in mesita"},
}

// Choices lists the codes for descriptions.
func (Code) Choices() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, c := range codes {
			if !yield(string(c.Code), c.about+" ("+strconv.Itoa(c.http)+")") {
				return
			}
		}
	}
}

// HTTPStatus is the status that carries the code.
func (c Code) HTTPStatus() int {
	for _, v := range codes {
		if v.Code == c {
			return v.http
		}
	}
	return http.StatusInternalServerError
}

// ExitCode is what the command line exits with.
func (c Code) ExitCode() int {
	for _, v := range codes {
		if v.Code == c {
			return v.exit
		}
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
	Allow string        `json:"-"` // the methods that are possible, if this one is not: 405 with the header Allow
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
var listed = map[string]string{"job": "ps --all", "partition": "partition ls", "node": "node ls", "token": "token ls", "incident": "incidents", "framework": "framework ls --all", "offer": "offer ls"}

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
