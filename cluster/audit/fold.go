package audit

import (
	"reflect"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
)

const (
	window       = time.Minute // within which the same is told once, and counted
	maxStrangers = 10          // kinds of refusals of strangers in a window; more are counted as one
	maxEach      = 20          // kinds of one known caller
	maxKinds     = 1000        // of all
)

// others stands for whom there was no room for by name.
const others = "others"

// kind is what makes two records the same but for their time.
type kind struct {
	actor, token, from, via, route, object, partition string
	outcome                                           api.AuditOutcome
	code                                              api.Code
}

// folded are the records of a window that are told once. A flood of refusals, from
// whomever, costs a bounded number of records per minute.
type folded struct {
	kinds map[kind]*api.AuditRecord // the last of each, with how many were not told
	each  map[string]int            // kinds by caller
	ends  time.Time
}

// joins is the one change of who shows no credentials but a secret in its body,
// which is used up by it.
const joins = "POST /v1/join"

// renews is what a node may ask for as often as it likes.
const renews = "POST /v1/internal/renew"

// folds reports whether more of the same are counted: all but what changed something
// and is somebody's, who was let in to do it.
func folds(r *api.AuditRecord, before, after any) bool {
	switch {
	case r.Outcome != api.AuditDone || strings.HasPrefix(r.Route, "GET ") || r.Route == renews:
		return true
	case r.Actor == "":
		return r.Route != joins
	}
	return strings.HasPrefix(r.Route, "PUT ") && before != nil && reflect.DeepEqual(before, after)
}

// take reports whether a record is told now. It may be made one of others.
func (f *folded) take(r *api.AuditRecord) bool { return f.takeAs(r, false) }

// takeAs is take; the rest, of whom there is no room for more by name, is told
// without a bound: there are few kinds of it.
func (f *folded) takeAs(r *api.AuditRecord, rest bool) bool {
	if f.kinds == nil {
		f.kinds, f.each, f.ends = map[kind]*api.AuditRecord{}, map[string]int{}, r.Time.Add(window)
	}
	k := kindOf(r)
	if same := f.kinds[k]; same != nil {
		more := same.More + 1
		*same = *r
		same.More = more
		return false
	}
	who, most := r.Actor+" "+r.Token, maxEach
	if r.Actor == "" {
		who, most = "", maxStrangers
	}
	if !rest && (f.each[who] >= most || len(f.kinds) >= maxKinds) {
		r.Object, r.Partition, r.Request, r.Asked, r.Reason = others, "", "", "", ""
		r.Route, r.Action, r.From, r.Via = "", "", "", ""
		if r.Outcome != api.AuditDone {
			r.Code = api.CodeNotAllowed
		}
		if r.Actor == "" || len(f.kinds) >= maxKinds {
			r.Actor, r.Token, r.From = "", "", others
		}
		return f.takeAs(r, true)
	}
	f.each[who]++
	last := *r
	f.kinds[k] = &last
	return true
}

func kindOf(r *api.AuditRecord) kind {
	return kind{r.Actor, r.Token, r.From, r.Via, r.Route, r.Object, r.Partition, r.Outcome, r.Code}
}

// end ends the window, and returns what was not told.
func (f *folded) end() (out []*api.AuditRecord) {
	for _, r := range f.kinds {
		if r.More > 0 {
			out = append(out, r)
		}
	}
	*f = folded{}
	return out
}
