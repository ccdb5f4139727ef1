package cluster

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/audit"
)

// A node whose audit lacks what the cluster was told of records so in it, once: the
// mark will be one that fits.
func TestAnAuditThatIsNotWhatItWasSaysSo(t *testing.T) {
	for mark, want := range map[uint64]int{0: 0, 1: 1, 9: 1} {
		synctest.Test(t, func(t *testing.T) {
			log := slog.New(slog.DiscardHandler)
			a := &Agent{log: log,
				audit: audit.New(audit.Config{Dir: t.TempDir(), Node: "oak", Now: time.Now, Log: log})}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() {
				defer close(done)
				a.audit.Run(ctx)
			}()
			defer func() { cancel(); <-done }()
			a.audit.Note(api.AuditRecord{Action: "deploy", Outcome: api.AuditDone}, nil, nil)
			synctest.Wait()
			self := &api.Node{ID: "oak", Audit: &api.AuditMark{Number: mark, Hash: "another"}}
			for range 3 { // until the leader takes what the node says
				why, known := a.againstMark(t.Context(), self)
				if !known || (why != "") != (want > 0) {
					t.Fatalf("mark %d: %q, %v", mark, why, known)
				}
				a.auditWas = why
				time.Sleep(2 * time.Minute)
			}
			got, err := a.audit.Newest(t.Context(), api.AuditFilter{Action: api.AuditBroken}, 9)
			if err != nil || len(got) != want || want > 0 && !strings.Contains(got[0].Reason, "record") {
				t.Errorf("mark %d: %+v, %v", mark, got, err)
			}
			check, err := a.audit.Verify(t.Context(), 0)
			if err != nil || len(check.Faults) != want {
				t.Errorf("mark %d: %+v, %v", mark, check, err)
			}
		})
	}
}
