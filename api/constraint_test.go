package api

import (
	"strconv"
	"strings"
	"testing"
)

// An operator that there is none of is refused with the one that is meant: it was taken
// for a part of the name or the value, and no node had it.
func TestOperatorsOfOtherLanguages(t *testing.T) {
	for text, want := range map[string]string{
		"kernel~>6": "write kernel>=6,", "kernel=>6": "write kernel>=6,", "kernel =< 6": "write kernel<=6,", "kernel==6": "write kernel=6,", "os<>linux": "write os!=linux,",
		"os=~lin": "write os=lin,", "os!linux": "write os!=linux,", "os!~linux": "write os!=linux,", "os===linux": "write os=linux,", "os!==linux": "write os!=linux,", "a>>1": "write a=1,",
	} {
		c, err := ParseConstraint(text)
		if ErrorCode(err) != CodeInvalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v", text, c, err)
		}
		if _, err := ParseLabels("label", []string{text}); ErrorCode(err) != CodeInvalid || !strings.HasPrefix(err.Error(), "label: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("label %s: %v", text, err)
		}
		if _, err := ParseConstraint(strings.TrimSuffix(strings.TrimPrefix(want, "write "), ",")); err != nil {
			t.Errorf("what is advised for %s: %v", text, err)
		}
	}
	for _, text := range []string{"a=b", "a!=b", "a<1", "a<=1", "a>1", "a >= 1", "a=", "a=b=c", "a=b~c"} {
		if c, err := ParseConstraint(text); err != nil || c.Attr != "a" {
			t.Errorf("%s: %+v, %v", text, c, err)
		}
	}
}

// Whatever a value begins with, = and != can be written with it, and what is refused is
// told the form that has it.
func TestValuesThatBeginLikeOperators(t *testing.T) {
	const signs = "~=<>!"
	for _, op := range []string{"=", "!="} {
		for _, x := range signs + "/x" {
			for _, y := range signs + "/x" {
				want := Constraint{Attr: "a", Op: op, Value: string(x) + string(y) + "z"}
				c, err := ParseConstraint("a" + op + want.Value)
				if err != nil {
					_, form, _ := strings.Cut(err.Error(), "behind a space: ")
					text, quoted := strconv.Unquote(form)
					if quoted != nil {
						t.Errorf("%s: %v", want, err)
						continue
					}
					c, err = ParseConstraint(text)
				}
				if err != nil || c.Attr != want.Attr || c.Op != want.Op || c.Value != want.Value {
					t.Errorf("%s: %+v, %v", want, c, err)
				}
			}
		}
	}
	for text, want := range map[string]string{"path=~/x": "~/x", "path!=~/x": "~/x", "a=<<x": "<<x", "a=>>x": ">>x", "a= =x": "=x"} {
		if c, err := ParseConstraint(text); err != nil || c.Value != want {
			t.Errorf("%s: %+v, %v", text, c, err)
		}
		if cs, err := ParseLabels("label", []string{text}); err != nil || cs[0].Value != want {
			t.Errorf("label %s: %+v, %v", text, cs, err)
		}
	}
}

// Of a comparison that a node does not meet it is said why it cannot.
func TestUnmetComparisons(t *testing.T) {
	attrs := map[string]string{"kernel": "6.18.44-fc", "cores": "4", "disk": "ssd"}
	const text = ", and only numbers and versions compare; = and != take any text"
	for condition, want := range map[string]string{
		"kernel>=7": "does not meet kernel>=7", "disk>=6": "does not meet disk>=6: its disk is ssd" + text, "cores>=8": "does not meet cores>=8", "gpu>=1": "does not meet gpu>=1: it has no gpu",
		"disk=hdd": "does not meet disk=hdd", "node.name>3": "does not meet node.name>3: its node.name is oak" + text,
	} {
		c := mark(t, condition)
		if got := c.Unmet("oak", attrs); c.Match("oak", attrs) || got != want {
			t.Errorf("%s: %s", condition, got)
		}
	}
	old := Constraint{Attr: "kernel", Op: ">=", Value: "6"}
	if got := old.Unmet("oak", attrs); got != "does not meet kernel>=6: its kernel is 6.18.44-fc, and this condition is from before versions compared: write kernel>=6.0" {
		t.Error(got)
	}
}
