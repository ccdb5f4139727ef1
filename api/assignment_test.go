package api

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// Nodes and leaders of level 1 and below tell each other of whole job specs:
// both understand what is told now, and what is needed comes across.
func TestAssignmentsCrossVersions(t *testing.T) {
	type wholeAssignment struct { // as it was then
		Task *Task    `json:"task"`
		Spec *JobSpec `json:"spec"`
	}
	for _, kind := range []Kind{KindService, KindBatch} {
		s := goodSpec()
		s.Kind, s.Count = kind, nil
		s.User, s.Env, s.Ports, s.Time, s.Program = "ann", map[string]string{"A": "b"}, []PortRequest{{Name: "http", Port: 80}}, 5, "sha256:"+strings.Repeat("0f", 32)
		want := Assigned(&Task{ID: "web.0", Job: "web", Attempt: 3}, s)
		want.Submission = 7
		now, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(now), `"partition":"default"`) {
			t.Errorf("the job's own fields are told: %s", now)
		}
		var then wholeAssignment
		if err := json.Unmarshal(now, &then); err != nil || then.Spec.Kind != kind || !reflect.DeepEqual(then.Spec.TaskSpec, s.TaskSpec) || then.Task.Attempt != 3 {
			t.Errorf("an old node reads %+v, %v", then.Spec, err)
		}
		whole, err := json.Marshal(wholeAssignment{want.Task, s})
		if err != nil {
			t.Fatal(err)
		}
		for i, b := range [][]byte{now, whole} {
			var got Assignment
			if i == 1 {
				want.Submission = 0 // it was not told
			}
			if err := json.Unmarshal(b, &got); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s is read as %+v, %v", b, got, err)
			}
		}
	}
	var none Assignment
	if err := json.Unmarshal([]byte(`{"task":{"id":"a.0"}}`), &none); err != nil || none.Spec != nil || none.Task == nil {
		t.Errorf("%+v, %v", none, err)
	}
}
