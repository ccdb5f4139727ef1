package fsm

import (
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// Whatever the time of a leader whose clock is wrong, only Forget removes what
// is old; below the level an incident and a token are removed as older voters
// do.
func TestOnlyForgetRemovesForAge(t *testing.T) {
	for _, level := range []Level{2, Newest} {
		w := newWorld(t, level, 1)
		expired := w.now.Add(time.Hour)
		w.do(&TokenCreate{Meta: w.at(), Token: &api.Token{ID: "expired", Kind: api.TokenJoin, Hash: "h", Expires: expired}})
		id := w.batch(3, 0)
		fail := func(i int) {
			w.place(api.TaskID(id, i), 0)
			w.report(api.TaskID(id, i), api.TaskFailed, api.ReasonExited)
		}
		fail(0)
		was := w.now
		w.now = was.Add(200 * 24 * time.Hour)
		fail(1)
		w.do(&TokenCreate{Meta: w.at(), Token: &api.Token{ID: "t2", Kind: api.TokenJoin, Hash: "h"}})
		kept := level >= features[ForgetByAge].level
		if n := w.incidents(); (n == 2) != kept || (w.View().Token("expired") != nil) != kept {
			t.Errorf("level %d: %d incidents, token %v", level, n, w.View().Token("expired"))
		}
		if !kept {
			if w.View().TooOld(w.at()) != nil || w.View().SparesTokens(w.now) != w.now {
				t.Errorf("level %d: there is more to forget", level)
			}
			continue
		}
		for at, want := range map[time.Time]bool{was: false, was.Add(25*time.Hour + time.Minute): true, was.Add(api.IncidentsKept + time.Minute): true} {
			if c := w.View().TooOld(Meta{At: at}); (c != nil) != want {
				t.Errorf("%s after: %+v", at.Sub(was), c)
			}
		}
		w.do(w.View().TooOld(Meta{At: was.Add(25*time.Hour + time.Minute)}))
		if w.incidents() != 2 || w.View().Token("expired") != nil || w.View().Token("t2") == nil {
			t.Error("after a day the token alone is forgotten")
		}
		w.do(w.View().TooOld(Meta{At: was.Add(api.IncidentsKept + time.Minute)}))
		if w.incidents() != 1 || w.View().TooOld(Meta{At: was.Add(api.IncidentsKept + time.Minute)}) != nil {
			t.Error("after a month the older incident is forgotten")
		}
		checkSums(t, w.View())
	}
}

func (w *world) incidents() (n int) {
	for range w.View().Incidents() {
		n++
	}
	return n
}
