package api

import (
	"slices"
	"strings"
	"time"
)

// ParseWindow reads "mon-fri 08:00-18:00 Europe/Berlin cpus=8,mem=1GiB"; the
// days and the zone may be left out.
func ParseWindow(s string) (Window, error) {
	var w Window
	for _, word := range strings.Fields(s) {
		from, to, two := strings.Cut(word, "-")
		switch {
		case strings.Contains(word, "="):
			g, err := ParseAmounts(word)
			if err != nil {
				return w, err
			}
			w.Guarantee = w.Guarantee.Add(g)
		case two && strings.Contains(from, ":") && w.From == "":
			w.From, w.To = from, to
		case w.From == "" && w.Days == "":
			w.Days = word
		case w.From != "" && w.Zone == "":
			w.Zone = word
		default:
			return w, FieldErrorf("hours", "%q: what is %q? Write mon-fri 08:00-18:00 Europe/Berlin cpus=8", s, word)
		}
	}
	if w.From == "" || w.Guarantee.IsZero() {
		return w, FieldErrorf("hours", "%q has no times or no amounts: write mon-fri 08:00-18:00 Europe/Berlin cpus=8", s)
	}
	return w, nil
}

func (w Window) String() string {
	return strings.Join(strings.Fields(w.Days+" "+w.From+"-"+w.To+" "+w.Zone+" "+w.Guarantee.String()), " ")
}

// UnmarshalJSON reads {"from": …} or the short form of ParseWindow.
func (w *Window) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		v, err := ParseWindow(unquote(b))
		*w = v
		return err
	}
	type plain Window
	return strictUnmarshal(b, (*plain)(w))
}

// UnmarshalJSON reads {"cpus": 4, "mem": …} or the short form "cpus=4,mem=8GiB".
func (a *Amounts) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		v, err := ParseAmounts(unquote(b))
		*a = v
		return err
	}
	type plain Amounts
	*a = Amounts{}
	return strictUnmarshal(b, (*plain)(a))
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// days is the set of days of a window, by time.Weekday.
func (w Window) days() (set [7]bool, err error) {
	if w.Days == "" {
		return [7]bool{true, true, true, true, true, true, true}, nil
	}
	for _, part := range strings.Split(w.Days, ",") {
		from, to, two := strings.Cut(strings.TrimSpace(part), "-")
		if !two {
			to = from
		}
		a, b := slices.Index(weekdays, from), slices.Index(weekdays, to)
		if a < 0 || b < 0 {
			return set, FieldErrorf("days", "%q is not a day: write mon-fri or sat,sun", part)
		}
		for d := a; ; d = (d + 1) % 7 {
			set[d] = true
			if d == b {
				break
			}
		}
	}
	return set, nil
}

func (w Window) validate(a *Adjust) error {
	if _, err := w.days(); err != nil {
		return err
	}
	if _, err := clockOf(w.From); err != nil || w.From == midnight {
		return FieldErrorf("from", "%q is not a time of day: write 08:00", w.From)
	}
	if _, err := clockOf(w.To); err != nil {
		return FieldErrorf("to", "%q is not a time of day: write 18:00", w.To)
	}
	if err := InField("guarantee", w.Guarantee.Validate()); err != nil {
		return err
	}
	if over := w.Guarantee.over(a.Max); over != "" {
		return FieldErrorf("guarantee", "%s is above max", over)
	}
	for k, v := range a.Min.Each {
		if w.Guarantee.Of(k) < v {
			return FieldErrorf("guarantee", "%s is below min (%s)", k, FormatAmount(k, v))
		}
	}
	return nil
}

// CheckZones checks that the time zones of a partition's hours are known here. Validate
// does not, as it is to say the same on all machines.
func (p *Partition) CheckZones() error { return p.checkZones(true) }

// CheckZonesAsBefore takes a machine's own zone as well.
func (p *Partition) CheckZonesAsBefore() error { return p.checkZones(false) }

func (p *Partition) checkZones(same bool) error {
	if p.Adjust == nil {
		return nil
	}
	for _, w := range p.Adjust.Hours {
		if _, err := time.LoadLocation(w.Zone); err != nil || same && w.Zone == "Local" { // which is another on each machine
			return InField("adjust", InField("hours", FieldErrorf("zone", "%q is not a time zone: write Europe/Berlin", w.Zone)))
		}
	}
	return nil
}

// midnight is the end of a day.
const midnight = "24:00"

// UntilMidnight reports whether the window ends at 24:00, or at what else
// programs below level 4 take for no time of day.
func (w Window) UntilMidnight() bool {
	_, err := time.Parse("15:04", w.To)
	return err != nil
}

// clockOf is a time of day in minutes.
func clockOf(s string) (minutes int, err error) {
	if s == midnight {
		return 24 * 60, nil
	}
	c, err := time.Parse("15:04", s)
	return c.Hour()*60 + c.Minute(), err
}

// Holds reports whether t is within the window.
func (w Window) Holds(t time.Time) bool { return inAny(w.around(t, -2, 1), t) }

// Next is the first time after t at which the window begins or ends, zero if
// it never does.
func (w Window) Next(t time.Time) (next time.Time) {
	all := w.around(t, -2, 9)
	week := t.AddDate(0, 0, 8) // what did not change by then never does
	for _, s := range all {
		for _, at := range []time.Time{s.from, s.to} {
			if at.After(t) && at.Before(week) && (next.IsZero() || at.Before(next)) && inAny(all, at) != inAny(all, at.Add(-1)) {
				next = at
			}
		}
	}
	return next
}

type span struct{ from, to time.Time }

func inAny(all []span, t time.Time) bool {
	return slices.ContainsFunc(all, func(s span) bool { return !t.Before(s.from) && t.Before(s.to) })
}

// around are the window's spans that begin on the days from first to last after
// that of t, by the calendar of its zone. One that ends when it begins is of a
// whole day.
func (w Window) around(t time.Time, first, last int) (all []span) {
	loc, err := time.LoadLocation(w.Zone)
	begins, berr := clockOf(w.From)
	ends, eerr := clockOf(w.To)
	set, derr := w.days()
	if err != nil || berr != nil || eerr != nil || derr != nil {
		return nil // checked where it came in
	}
	if ends <= begins {
		ends += 24 * 60
	}
	y, m, d := t.In(loc).Date()
	for day := d + first; day <= d+last; day++ {
		if set[time.Date(y, m, day, 0, 0, 0, 0, time.UTC).Weekday()] {
			all = append(all, span{instant(y, m, day, begins, loc), instant(y, m, day, ends, loc)})
		}
	}
	return all
}

// instant is when clocks of a place first show so many minutes after a midnight
// of its calendar; if they skip that, when they do.
func instant(y int, m time.Month, day, minutes int, loc *time.Location) time.Time {
	want := time.Date(y, m, day, 0, minutes, 0, 0, time.UTC)
	t := time.Date(y, m, day, 0, minutes, 0, 0, loc)
	begun, over := t.ZoneBounds()
	_, offset := t.Zone()
	switch shown := t.UTC().Add(time.Duration(offset) * time.Second); {
	case shown.After(want):
		return begun
	case shown.Before(want):
		return over
	}
	if begun.IsZero() {
		return t
	}
	_, before := begun.Add(-1).Zone()
	if earlier := t.Add(time.Duration(offset-before) * time.Second); earlier.Before(begun) {
		return earlier
	}
	return t
}
