package fsm

import (
	"time"

	"github.com/mesita/mesita/api"
)

// forgetTokens is how long a token is kept after it expired, so that whoever
// shows it is told why it is refused.
const forgetTokens = 24 * time.Hour

// Forget removes incidents that were over, and tokens that had expired, by then,
// and of the accounts the days that are no longer kept. It cannot be undone, so a leader proposes it only while it knows that most
// voters have its time; no other command removes anything for its age. Its value
// is how many.
type Forget struct {
	Meta
	Incidents time.Time `json:"incidents"`
	Tokens    time.Time `json:"tokens"`
	// Day is that from which the days of accounts are counted back; 0: none is removed.
	Day int64 `json:"day,omitempty"`
}

func (c *Forget) apply(x *tx) (any, error) {
	incidents, tokens := x.old(c)
	for _, n := range incidents {
		x.incidents.delete(x, n)
	}
	for _, t := range tokens {
		x.tokens.delete(x, t)
		x.happened(api.Event{Kind: api.EventTokenRevoked, Object: t.ID, Message: "expired, and is forgotten"})
	}
	return len(incidents) + len(tokens) + x.forgetAccounts(c), nil
}

// forgetAccounts removes what is old of the accounts.
func (x *tx) forgetAccounts(c *Forget) int {
	if c.Day == 0 {
		return 0
	}
	x.settle()
	rows := x.accounts.outdated(c.Day)
	for _, row := range rows {
		x.accounts.delete(x, row)
	}
	return len(rows)
}

func (t *tables) old(c *Forget) (incidents []*api.Incident, tokens []*api.Token) {
	for n := range t.incidents.all() {
		if !n.Over.IsZero() && n.Over.Before(c.Incidents) {
			incidents = append(incidents, n)
		}
	}
	for k := range t.tokens.all() {
		if !k.Expires.IsZero() && k.Expires.Before(c.Tokens) {
			tokens = append(tokens, k)
		}
	}
	return incidents, tokens
}

// TooOld is the command that removes what is too old at a time, nil if nothing
// is.
func (v *View) TooOld(m Meta) *Forget {
	c := &Forget{Meta: m, Incidents: m.At.Add(-api.IncidentsKept), Tokens: m.At.Add(-forgetTokens)}
	rows := v.t.accounts.outdated(Day(m.At))
	if len(rows) > 0 {
		c.Day = Day(m.At)
	}
	if incidents, tokens := v.t.old(c); !v.Does(ForgetByAge) || len(incidents)+len(tokens)+len(rows) == 0 {
		return nil
	}
	return c
}
