package audit

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/mesita/mesita/api"
)

// FuzzRecords: bytes of chance in place of a file are faults or records, and a
// record that is taken for one is as it was written.
func FuzzRecords(f *testing.F) {
	var head api.AuditHead
	var all []byte
	for range 3 {
		b, err := link(&api.AuditRecord{Node: "oak", Outcome: api.AuditDone, Actor: "root"}, &head)
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, b...)
	}
	f.Add(all)
	f.Add(all[:len(all)-9])
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var v verifier
		v.file(b)
		v.end(nil, 0)
		lines := bytes.Count(b, []byte("\n"))
		if int(v.Records)+len(v.Faults) < min(lines, maxFaults) {
			t.Errorf("%d lines are %d records and %d faults", lines, v.Records, len(v.Faults))
		}
		for line := range bytes.Lines(b) {
			r, err := parse(bytes.TrimSuffix(line, []byte("\n")))
			if err != nil {
				continue
			}
			if _, err := json.Marshal(r); err != nil || r.Hash == "" {
				t.Errorf("%q is a record: %v", line, err)
			}
		}
	})
}

// FuzzChanges: whatever two values are, what differs is bounded, and nothing that
// is equal does.
func FuzzChanges(f *testing.F) {
	f.Add([]byte(`{"spec":{"env":{"K":"v"},"count":1}}`), []byte(`{"spec":{"count":2}}`))
	f.Add([]byte(`[1]`), []byte(`null`))
	f.Fuzz(func(t *testing.T, before, after []byte) {
		if !json.Valid(before) || !json.Valid(after) {
			return
		}
		if out := changes(json.RawMessage(before), json.RawMessage(after)); len(out) > maxChanges+1 {
			t.Errorf("%d changes", len(out))
		}
		if out := changes(json.RawMessage(before), json.RawMessage(before)); len(out) > 0 {
			t.Errorf("%s differs from itself: %+v", before, out)
		}
	})
}
