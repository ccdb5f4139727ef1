package specfile

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

func jobOf(t *testing.T, vars map[string]string, text string) (*api.JobSpec, error) {
	t.Helper()
	docs := &Docs{Vars: vars}
	if err := docs.Add("f.yaml", []byte(text)); err != nil {
		return nil, err
	}
	return docs.Jobs[0], nil
}

// What other tools' files have is read as it is meant: numbers as text, lists of
// variables, keys of one's own and merges.
func TestAsPeopleWrite(t *testing.T) {
	s, err := jobOf(t, nil, `
x-common: &common
  env: {A: 1, B: true, C: 1.50, D: "x", E: 0x10}
  x-note: [a, b]
<<: *common
name: web
command: [/bin/sleep, 60, 1.0, true, -5]
labels: {tier: 1}
constraints: [rack=7]
x-owner: {team: shop}
`)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"/bin/sleep", "60", "1.0", "true", "-5"}; !slices.Equal(s.Command, want) {
		t.Errorf("command is %q, want %q", s.Command, want)
	}
	if want := map[string]string{"A": "1", "B": "true", "C": "1.50", "D": "x", "E": "0x10"}; !maps.Equal(s.Env, want) {
		t.Errorf("env is %q, want %q", s.Env, want)
	}
	if s.Labels["tier"] != "1" {
		t.Errorf("labels are %q", s.Labels)
	}
	if s, err = jobOf(t, nil, "name: web\ncommand: [a]\nenv: [A=1, 'B=x=y', C=]\n"); err != nil || !maps.Equal(s.Env, map[string]string{"A": "1", "B": "x=y", "C": ""}) {
		t.Errorf("env is %v, %v", s, err)
	}
	if s, err = jobOf(t, nil, "name: web\ncommand: [a]\npartition:\ncount: ~\nenv:\nports: null\nrestart: {delay: }\n"); err != nil || s.Partition != "" || s.Count != nil || s.Restart.Delay != 0 {
		t.Errorf("keys without a value: %v, %v", s, err)
	}
	for text, want := range map[string]string{
		"env: [A]":                "nothing is taken from your own environment",
		"env: [A=1, A=2]":         "f.yaml:2: env[1]: A is given twice",
		"env: [{A: 1}]":           "must be text",
		"env: {A: }":              "env.A: has no value",
		"env: {A: [1]}":           "env.A",
		"command: [/bin/a, {}]":   "command[1]",
		"x_note: 1":               "is unknown",
		"<<: {replicas: 3}":       "replicas",
		"restart: {x-a: 1, d: 1}": "restart.d",
	} {
		if _, err := jobOf(t, nil, "name: web\n"+text+"\n"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// Variables are values of a file, and nothing else: what they hold is not YAML, and what
// is not given is not guessed.
func TestVariables(t *testing.T) {
	const text = "name: web\ncount: ${N}\ncommand: [/bin/sh, -c, 'echo ${A}$${HOME} $A $']\nenv: {V: \"${A}\", W: '${N}'}\n"
	s, err := jobOf(t, map[string]string{"N": "3", "A": "x: [y]"}, text)
	if err != nil {
		t.Fatal(err)
	}
	if *s.Count != 3 || s.Command[2] != "echo x: [y]${HOME} $A $" || s.Env["V"] != "x: [y]" || s.Env["W"] != "3" {
		t.Errorf("%d, %q, %q", *s.Count, s.Command, s.Env)
	}
	if s, err = jobOf(t, nil, "name: web\ncommand: [/bin/sh, -c, 'echo ${A:-b} $${C}']\n"); err != nil || s.Command[2] != "echo ${A:-b} $${C}" {
		t.Errorf("without variables: %v, %v", s, err)
	}
	for text, want := range map[string]string{
		"dir: ${B}": "f.yaml:2: ${B} has no value: give --var B=VALUE", "dir: ${A:-b}": "is not ${NAME}", "dir: ${": "is not ${NAME}", "count: ${A}": "count",
	} {
		if _, err := jobOf(t, map[string]string{"A": "x"}, "name: web\n"+text+"\n"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	for in, want := range map[string]string{"": "", "~": "~", "null": "null", "7": "7", "2026-01-01": "2026-01-01"} { // never nothing
		if s, err := jobOf(t, map[string]string{"V": in}, "name: web\ncommand: [a]\nenv:\n  A: ${V}\n"); err != nil || s.Env["A"] != want {
			t.Errorf("%q: %v, %v", in, s, err)
		}
	}
	for text, want := range map[string]string{
		"dir: ${A}": "f.yaml:2: ${A}", "command: [/bin/sh, -c, 'echo ${A}']": "", "command: [/bin/sh, -c, 'echo $${A}']": "f.yaml:2: $${A}",
	} {
		docs := new(Docs)
		if err := docs.Add("f.yaml", []byte("name: web\n"+text+"\n")); err == nil && want == "" && docs.Unfilled != "" || want != "" && docs.Unfilled != want {
			t.Errorf("%s: %q is unfilled, want %q", text, docs.Unfilled, want)
		}
	}
	big := map[string]string{"A": strings.Repeat("x", maxFilled/2+1)}
	if _, err := jobOf(t, big, "name: web\ndir: ${A}${A}\n"); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("without end: %v", err)
	}
}
