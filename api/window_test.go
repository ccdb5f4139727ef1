package api

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
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

// clock is what clocks of a place show, as a number that grows with it.
func clock(t time.Time, loc *time.Location) int64 {
	t = t.In(loc)
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), 0, 0, time.UTC).Unix()
}

// A window is from when the clocks of its zone first show its beginning, or
// skip it, until they first show its end: held against a walk through all
// minutes of days on which clocks change, on both sides of the equator.
func TestWindowsWhenClocksChange(t *testing.T) {
	changes := map[string][]string{
		"UTC": {"2026-03-29"}, "Europe/Berlin": {"2026-03-29", "2026-10-25"}, "America/New_York": {"2026-03-08", "2026-11-01"}, "America/Santiago": {"2026-04-05", "2026-09-06"},
		"Australia/Lord_Howe": {"2026-04-05", "2026-10-04"}, "Australia/Sydney": {"2026-04-05", "2026-10-04"}, "America/St_Johns": {"2026-03-08", "2026-11-01"},
		"Africa/Cairo": {"2026-04-24", "2026-10-30"}, "Pacific/Apia": {"2011-12-30"}, "Asia/Kathmandu": {"1986-01-01"}, "Europe/Dublin": {"2026-03-29", "2026-10-25"},
	}
	clocks := []string{"00:00", "0:30", "01:00", "01:30", "02:00", "02:15", "03:00", "8:00", "23:00", "24:00"}
	checked := 0
	for zone, days := range changes {
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		for _, day := range days {
			noon, _ := time.ParseInLocation("2006-01-02 15:04", day+" 12:00", time.UTC)
			begin := noon.Add(-84 * time.Hour)
			shown := make([]int64, 7*24*60) // each minute of a week around it
			for i := range shown {
				shown[i] = clock(begin.Add(time.Duration(i)*time.Minute), loc)
			}
			first := func(want int64) int { return slices.IndexFunc(shown, func(s int64) bool { return s >= want }) }
			for _, from := range clocks[:len(clocks)-1] {
				for _, to := range clocks {
					for _, only := range []string{"", strings.ToLower(noon.Format("Mon"))} {
						w := Window{Days: only, From: from, To: to, Zone: zone}
						a, _ := clockOf(from)
						b, _ := clockOf(to)
						if b <= a {
							b += 24 * 60
						}
						holds := make([]bool, len(shown))
						for d := -4; d <= 4; d++ {
							midnight := noon.Add(-12*time.Hour + time.Duration(d)*24*time.Hour)
							if only != "" && midnight.Weekday() != noon.Weekday() {
								continue
							}
							x, y := first(midnight.Unix()+int64(a)*60), first(midnight.Unix()+int64(b)*60)
							if y < 0 {
								y = len(holds)
							}
							for i := max(x, 0); x >= 0 && i < y; i++ {
								holds[i] = true
							}
						}
						checked++
						if err := compare(w, begin, holds); err != nil {
							t.Errorf("%s: %v", w, err)
						}
					}
				}
			}
		}
	}
	if checked < 3000 {
		t.Errorf("%d windows", checked)
	}
}

// compare looks at the middle three days of a week.
func compare(w Window, begin time.Time, holds []bool) error {
	const day = 24 * 60
	all := w.around(begin.AddDate(0, 0, 3), -4, 4)
	next := time.Time{}
	for i := 5 * day; i >= 2*day; i-- {
		at := begin.Add(time.Duration(i) * time.Minute)
		if inAny(all, at) != holds[i] {
			return fmt.Errorf("at %s it holds: %v", at.UTC(), !holds[i])
		}
		if i == 4*day || i == 3*day {
			if got := w.Next(at); !next.IsZero() && !got.Equal(next) || w.Holds(at) != holds[i] {
				return fmt.Errorf("at %s: holds is %v; then comes %s, and not %s", at.UTC(), w.Holds(at), got.UTC(), next)
			}
		}
		if holds[i] != holds[i-1] {
			next = at.UTC()
		}
	}
	return nil
}

// A day as a whole can be written, in each way that comes to mind.
func TestWholeDays(t *testing.T) {
	begin := time.Date(2026, 10, 24, 22, 0, 0, 0, time.UTC) // midnight of Berlin's longest day
	for in, until := range map[string]time.Time{
		"sun 00:00-24:00 Europe/Berlin cpus=1": begin.Add(25 * time.Hour),
		"sun 00:00-00:00 Europe/Berlin cpus=1": begin.Add(25 * time.Hour),
		"sun 0:00-24:00 Europe/Berlin cpus=1":  begin.Add(25 * time.Hour),
		"00:00-24:00 Europe/Berlin cpus=1":     {},
	} {
		w, err := ParseWindow(in)
		if err == nil {
			err = w.validate(&Adjust{})
		}
		if err != nil {
			t.Errorf("%s: %v", in, err)
		}
		if got := w.Next(begin); !w.Holds(begin) || !got.Equal(until) {
			t.Errorf("%s ends at %s", in, got)
		}
	}
	for _, w := range []Window{{From: "24:00", To: "01:00"}, {From: "8", To: "18:00"}, {From: "08:00", To: "24:01"}, {From: "08:00", To: "-1:00"}} {
		if err := w.validate(&Adjust{}); ErrorCode(err) != CodeInvalid {
			t.Errorf("%s: %v", w, err)
		}
	}
}
