package api

import (
	"encoding/json"
	"strings"
	"testing"
)

// An answer of a newer program, with a state that this one does not know, is
// read; what a user asks for is not guessed at.
func TestDecodeLenient(t *testing.T) {
	const newer = `{"items":[{"id":"web.0","state":"TASK_DREAMING","desired":"hibernate","dreams":3},{"id":"web.1","state":"TASK_RUNNING"}],"jobs":{"web":{"state":"asleep","spec":{"kind":"moon","count":3}}}}`
	var out struct {
		Items []*Task        `json:"items"`
		Jobs  map[string]Job `json:"jobs"`
	}
	if err := DecodeLenient([]byte(newer), &out); err != nil {
		t.Fatal(err)
	}
	if a, b := out.Items[0], out.Items[1]; a.State.String() != "unknown(255)" || a.Desired != unknownEnum || a.State.Final() || a.State.Active() || b.State != TaskRunning {
		t.Errorf("%v, %v", a, b)
	}
	if j := out.Jobs["web"]; j.State != unknownEnum || j.State.Ended() || j.Spec.Kind != unknownEnum || *j.Spec.Count != 3 {
		t.Errorf("%+v", j)
	}
	if err := DecodeStrict(strings.NewReader(`{"kind":"moon"}`), new(JobSpec)); err == nil || !strings.Contains(err.Error(), `unknown kind "moon": one of service`) {
		t.Errorf("strictly: %v", err)
	}
	for _, again := range []string{`"unknown(255)"`, `"unknown"`} {
		if err := json.Unmarshal([]byte(again), new(Role)); err == nil {
			t.Errorf("%s can be asked for from outside", again)
		}
	}
	if err := DecodeLenient([]byte(`{"items":3}`), &out); err == nil {
		t.Error("what is not an answer at all was read")
	}
}

// A state that is added later does not count as an end by its number.
func TestEndIsNoMatterOfOrder(t *testing.T) {
	for s := range 256 {
		want := s == int(JobStopped) || s == int(JobFinished) || s == int(JobFailed)
		if JobState(s).Ended() != want {
			t.Errorf("%v: ended %v", JobState(s), !want)
		}
	}
}
