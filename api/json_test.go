package api

import (
	"strings"
	"testing"
)

// What JSON has wrong is told by the field's own name, wherever it is and whoever
// reads it.
func TestWhatIsWrongHasAName(t *testing.T) {
	for in, want := range map[string]string{
		`{"pin":"yes"}`:                              "pin: is a string, and must be true or false",
		`{"nice":5.5}`:                               "nice: is 5.5, and must be a whole number",
		`{"nice":99999999999999999999}`:              "nice: is 99999999999999999999, and that is too far from zero",
		`{"nice":"5"}`:                               "nice: is a string, and must be a number",
		`{"memLimit":true}`:                          `memLimit: "true" is not an amount of bytes: write 128MiB, 2GiB or 4096`,
		`{"cpus":"1e-9"}`:                            `cpus: "1e-9" cores is below the smallest step, 0.001`,
		`{"ulimits":"nofile=5"}`:                     "ulimits: is a string, and must be a list",
		`{"ulimits":["core=1",{"hard":1e30}]}`:       "ulimits[1].hard: is 1e30, and must be a whole number",
		`{"ulimits":["core=1",{"hard":1,"hard":2}]}`: "ulimits[1].hard: is given twice: give it once",
		`{"env":{"A":5}}`:                            "env.A: is a number, and must be a string",
		`{"restart":{"delay":"soon"}}`:               "restart.delay: ",
		`{"kind":7}`:                                 "kind: is a number, and must be a string",
		`{"stopSignal":7}`:                           "stopSignal: ",
		`{"ports":[{"name":7}]}`:                     "ports[0].name: is a number, and must be a string",
		`{"constraints":["zone=a","zone"]}`:          `constraints[1]: "zone" is not a condition`,
		`[]`:                                         "is an array, and must be a map",
		`{"nice":1,"nice":1}`:                        "nice: is given twice: give it once",
		`{"nice":1,"ni\u0063e":2}`:                   "is given twice: give it once",
		`{"env":{"A":"x","B":"nice","A" : "y"}}`:     "A: is given twice: give it once",
	} {
		var s JobSpec
		if err := DecodeStrict(strings.NewReader(in), &s); err == nil || !strings.HasPrefix(err.Error(), want) && !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", in, err, want)
		}
	}
}

// One name in several objects, or as a value, is not twice.
func TestNamesThatAreNotTwice(t *testing.T) {
	many := `{"env":{"A0":"env"`
	for i := range 100 {
		many += `,"A` + strings.Repeat("1", i+1) + `":"A0"`
	}
	for _, in := range []string{
		`{"env":{"command":"env","env":"env"},"command":["env","command","env"],"labels":{"env":"a\"env\":"}}`,
		`{"ulimits":[{"name":"core"},{"name":"nofile"}],"env":{"a":"1","A":"2"}}`, many + "}}",
	} {
		var s JobSpec
		if err := DecodeStrict(strings.NewReader(in), &s); err != nil {
			t.Errorf("%s: %v", in, err)
		}
	}
	var s JobSpec
	if err := DecodeStrict(strings.NewReader(many+`,"A111":""}}`), &s); err == nil {
		t.Error("one of a hundred names is there twice, and that is taken")
	}
}

func BenchmarkTwice(b *testing.B) {
	in := []byte(`{"kind":"batch","name":"job-123","command":["/bin/sh","-c","exit 0"],"cpus":"0.1","mem":"64MiB","env":{"A":"1","B":"2"},"retries":2,"labels":{"team":"web"}}`)
	for b.Loop() {
		if _, found := twice(in); found {
			b.Fatal("twice")
		}
	}
}
