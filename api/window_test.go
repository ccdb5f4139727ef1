package api

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestParseWindow(t *testing.T) {
	for in, want := range map[string]Window{
		"mon-fri 08:00-18:00 Europe/Berlin cpus=8,mem=1GiB": {Days: "mon-fri", From: "08:00", To: "18:00", Zone: "Europe/Berlin", Guarantee: Amounts{CPUs: 8000, Mem: 1 << 30}},
		"22:00-06:00 cpus=2":                {From: "22:00", To: "06:00", Guarantee: Amounts{CPUs: 2000}},
		"sat,sun 00:00-23:59 gpus=1 cpus=1": {Days: "sat,sun", From: "00:00", To: "23:59", Guarantee: Amounts{CPUs: 1000, GPUs: 1}},
	} {
		w, err := ParseWindow(in)
		if err != nil || w.String() != want.String() || w.Days != want.Days || w.Zone != want.Zone {
			t.Errorf("%q: %v %v", in, w, err)
		}
		again, err := ParseWindow(w.String())
		if err != nil || again.String() != w.String() {
			t.Errorf("%q printed as %q: %v", in, w, err)
		}
		b, err := json.Marshal(w)
		var long, short Window
		if err != nil || json.Unmarshal(b, &long) != nil || json.Unmarshal([]byte(`"`+in+`"`), &short) != nil || long.String() != w.String() || short.String() != w.String() {
			t.Errorf("%q as JSON: %s %v %v", in, b, long, short)
		}
	}
	for in, says := range map[string]string{"": "no times", "08:00-18:00": "no amounts", "mon-fri cpus=1": "no times", "mon 08:00-18:00 UTC odd cpus=1": `"odd"`, "08:00-18:00 cpus=NaN": "NaN", "08:00-18:00 ports=1-9": "ports"} {
		if _, err := ParseWindow(in); ErrorCode(err) != CodeInvalid || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestAmountsShortForm(t *testing.T) {
	for in, want := range map[string]string{`"cpus=4,mem=8GiB,licence=3"`: "cpus=4,mem=8GiB,licence=3", `{"cpus":0.5,"custom":{"licence":2}}`: "cpus=0.5,licence=2"} {
		var a Amounts
		if err := json.Unmarshal([]byte(in), &a); err != nil || a.String() != want {
			t.Errorf("%s: %v %v", in, a, err)
		}
	}
	var a Amounts
	for _, in := range []string{`"cpus=1e300"`, `{"cpu":1}`, `"cpus"`, `7`} {
		if err := json.Unmarshal([]byte(in), &a); err == nil {
			t.Errorf("%s became %v", in, a)
		}
	}
}
