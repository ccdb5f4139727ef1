package cluster

import (
	"reflect"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// Each limit is a setting of its own: it takes what is within its bounds, written with its
// unit, has its default there, and changes one thing of the node.
func TestLimitsAreSettings(t *testing.T) {
	for _, l := range Limits() {
		set := func(text string) (Config, error) {
			c := Config{Limits: map[string]string{l.Name: text}}
			err := c.limit()
			c.Limits = nil
			return c, err
		}
		if _, err := set(l.Default); err != nil {
			t.Errorf("the default: %v", err)
		}
		var changed []string
		for _, n := range []int64{l.least, l.most} {
			c, err := set(l.text(n))
			if err != nil {
				t.Error(err)
			}
			v := reflect.ValueOf(c)
			changed = changed[:0]
			for i := range v.NumField() {
				if f := v.Field(i); !f.IsZero() {
					if !f.CanInt() || f.Int() != n {
						t.Errorf("%s=%s made %s %v", l.Name, l.text(n), v.Type().Field(i).Name, f)
					}
					changed = append(changed, v.Type().Field(i).Name)
				}
			}
			if len(changed) != 1 {
				t.Errorf("%s changes %v", l.Name, changed)
			}
		}
		for _, text := range []string{l.text(l.least - 1), l.text(2 * l.most), "-5", "x", ""} {
			c, err := set(text)
			if e, ok := err.(*api.Error); !ok || e.Field != l.Name || e.Code != api.CodeInvalid {
				t.Errorf("%s=%s: %v", l.Name, text, err)
			}
			if !reflect.DeepEqual(c, Config{}) {
				t.Errorf("%s=%s was refused and changed something", l.Name, text)
			}
		}
		if _, err := set("5"); l.unit == unitTime && (err == nil || !strings.Contains(err.Error(), "needs a unit")) {
			t.Errorf("%s=5: %v", l.Name, err)
		}
	}
}
