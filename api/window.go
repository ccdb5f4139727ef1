package api

import "strings"

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
