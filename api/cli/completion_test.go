package cli

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/line"
	"github.com/urfave/cli/v2"
)

// What completion offers as a flag's value it reads in its help: for which flags, and
// that all is there and nothing else, is seen here.
func TestValuesThatHelpNames(t *testing.T) {
	named := func(choices ...string) map[string]bool {
		out := map[string]bool{}
		for _, c := range choices {
			out[c] = true
		}
		return out
	}
	want := map[string]map[string]bool{
		"policy": choices(api.Policies()), "placement": choices(api.Placements()), "preempt": choices(api.Preempts()),
		"role": named("operator", "admin"), "unconfined": named(), "by": named("user", "partition", "job", "node"),
		"layout": named("mesita", "google2019", "alibaba", "swf"), "log-format": named("text", "json"),
		"log-level": named("debug", "info", "warn", "error"), "output": named(formats...),
		"top --sort": named(topKeys()...),
	}
	for _, p := range api.Parts {
		want["unconfined"][string(p.Name)] = true
	}
	seen := map[string]bool{}
	root := (&app{}).root()
	var look func(cs []*cli.Command, path []string)
	look = func(cs []*cli.Command, path []string) {
		for _, c := range cs {
			at := append(slices.Clone(path), c.Name)
			look(c.Subcommands, at)
			for _, f := range c.Flags {
				name := f.Names()[0]
				if d, ok := f.(cli.DocGenerationFlag); !ok || !d.TakesValue() {
					continue
				}
				_, w := line.Complete(root, append(slices.Clone(at), "--"+name, ""))
				if slices.Contains(w.Nouns, "TOKEN") {
					t.Errorf("%q --%s takes a secret, and the ids of tokens are offered", at, name)
				}
				got := map[string]bool{}
				for _, word := range w.Words {
					got[word.Text] = true
				}
				key := name
				if own := strings.Join(at, " ") + " --" + name; want[own] != nil {
					key = own
				}
				all := want[key]
				if name == "output" && len(got) == 3 { // of what is not a list
					all = named("table", "json", "yaml")
				}
				if len(got) > 0 && !maps.Equal(got, all) {
					t.Errorf("%q --%s: %v, want %v", at, name, got, all)
				}
				seen[key] = seen[key] || len(got) > 0
			}
		}
	}
	look(root.Commands, nil)
	for name := range want {
		if !seen[name] {
			t.Errorf("--%s has no values", name)
		}
	}
}

func choices[T ~string](all []api.Choice[T]) map[string]bool {
	out := map[string]bool{}
	for _, c := range all {
		out[string(c.Name)] = true
	}
	return out
}
