package api

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func fieldOf(err error) string {
	var e *Error
	if errors.As(err, &e) && e.Code == CodeInvalid {
		return e.Field
	}
	return ""
}

// Text that JSON cannot carry is refused by its field, before it is sent and as it
// is read, and any other arrives as it is.
func TestTextArrivesAsItIsOrNotAtAll(t *testing.T) {
	spec := func() *JobSpec {
		return &JobSpec{Name: "a", TaskSpec: TaskSpec{Command: []string{"echo", "x"}, Env: map[string]string{"A": "b"}}}
	}
	for field, change := range map[string]func(*JobSpec){
		"command[1]": func(s *JobSpec) { s.Command[1] = "Caf\xe9" },
		"env.A":      func(s *JobSpec) { s.Env["A"] = "\xff" },
		"env":        func(s *JobSpec) { s.Env["\xc3"] = "x" },
		"dir":        func(s *JobSpec) { s.Dir = "/tmp/\xf0\x9f" },
	} {
		s := spec()
		change(s)
		if err := CheckText(s); fieldOf(err) != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	if err := CheckText(map[string]any{"env": map[string]any{"Z": "\xed\xa0\x80"}}); fieldOf(err) != "env.Z" { // as of YAML's !!binary
		t.Error(err)
	}
	s := spec()
	s.Command = append(s.Command, "", "Café", "\x01", "\U0001f600", "\ufffd")
	b, err := json.Marshal(s)
	var got JobSpec
	if err := errors.Join(err, CheckText(s), DecodeStrict(strings.NewReader(string(b)), &got)); err != nil || strings.Join(got.Command, " ") != strings.Join(s.Command, " ") {
		t.Errorf("%q, %v", got.Command, err)
	}
	for in, field := range map[string]string{
		"{\"command\":[\"echo\",\"a\xffb\"]}":       "command[1]",
		"{\"command\":[\"echo\"],\"dir\":\"\xe9\"}": "dir",
		`{"command":["\ud800"]}`:                    "command[0]",
		`{"command":["\udc00\ud800"]}`:              "command[0]",
		`{"command":["\\","\uD83Dx"]}`:              "command[1]",
		`{"command":["\ud83d\ude00"]}`:              "",
		`{"command":["\\ud800","\ufffd"]}`:          "",
	} {
		err := DecodeStrict(strings.NewReader(in), &JobSpec{})
		if fieldOf(err) != field || (field == "") != (err == nil) {
			t.Errorf("%s: %v, and not by %q", in, err, field)
		}
	}
}

// Whatever a decoder makes another text of is seen in what it read.
func FuzzText(f *testing.F) {
	for _, s := range []string{`a`, `\ud83d\ude00`, `\ud800`, `\\ud800`, `\udfff`, "\xff", `\uD8aB\uDc01`, `\u00d8\u0000`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		in := `"` + s + `"`
		var got string
		if json.Unmarshal([]byte(in), &got) != nil {
			return
		}
		made := strings.Count(got, string(utf8.RuneError)) > strings.Count(s, string(utf8.RuneError))+strings.Count(strings.ToLower(s), `\ufffd`)
		if err := checkRead([]byte(in), &got); made && err == nil {
			t.Errorf("%q became %q", s, got)
		}
	})
}
