package cli

import (
	"slices"
	"testing"
)

// Each flag of a start or a join is a setting of node.yaml, or is on the list of those
// that are not, with the reason.
func TestEachFlagOfAStartIsASetting(t *testing.T) {
	a := &app{}
	flags := map[string]bool{}
	for _, f := range slices.Concat(a.nodeStart().Flags, a.nodeJoin().Flags) {
		name := f.Names()[0]
		flags[name] = true
		if is, not := slices.Contains(settingNames(), name), notSettings[name] != ""; is == not {
			t.Errorf("--%s: a setting: %v, on the list of those that are not: %v", name, is, not)
		}
		if _, err := settingNamed(name); (err == nil) == (notSettings[name] != "") {
			t.Errorf("--%s by name: %v", name, err)
		}
	}
	for name := range notSettings {
		if !flags[name] {
			t.Errorf("%s is on the list, and there is no such flag", name)
		}
	}
}
