package cli

import (
	"slices"
	"strings"
	"testing"
)

// A node is started again with what holds for each of its starts, and without what held
// for one alone.
func TestStartArgs(t *testing.T) {
	for given, want := range map[string]string{
		"node start --foreground": "node start",
		"node start --name oak --data=/srv/m --attr a=b --attr c=d --foreground":         "node start --name oak --data=/srv/m --attr a=b --attr c=d",
		"--socket /tmp/s node start --voter-only --foreground":                           "node start --socket /tmp/s --voter-only",
		"node join 10.0.0.11,10.0.0.12 --token-file /root/t --listen 10.0.0.13:5050":     "node start --listen 10.0.0.13:5050",
		"node join --token=mst1-x 10.0.0.11 --allow-root --foreground --slice s":         "node start --allow-root --slice s",
		"node start --rejoin --seed 10.0.0.1 --seed=10.0.0.2 --resources cpus=2 --http=": "node start --resources cpus=2 --http=",
	} {
		if got := startArgs(strings.Fields(given)); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%s: %q, want %q", given, got, want)
		}
	}
}

// Each flag of a join or a start is known, so that it is known whether a value follows.
func TestStartArgsKnowsAllFlags(t *testing.T) {
	a := &app{}
	for _, f := range slices.Concat(a.nodeStart().Flags, a.nodeJoin().Flags) {
		name := f.Names()[0]
		got := startArgs([]string{"node", "start", "--" + name, "value", "--name", "oak"})
		if !slices.Contains(got, "oak") || slices.Contains(got, "value") && !slices.Contains(got, "--"+name) {
			t.Errorf("--%s value: %q", name, got)
		}
	}
}
