package cli

import (
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/specfile"
	"github.com/mesita/mesita/api/client"
)

// asking is what a request asks somebody who sees what they are asked.
func asking(t *testing.T, f *fake, documents string, answer func(question string) bool) (*together, *client.Client) {
	t.Helper()
	docs, err := specfile.Parse("jobs.yaml", []byte(documents))
	if err != nil {
		t.Fatal(err)
	}
	cl, err := client.New(client.Config{Socket: f.http.Listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	return &together{docs: docs, in: api.ApplyRequest{Jobs: docs.Jobs}, prune: true, labels: []string{"team=web"}, ask: answer, stops: map[api.StopSeen]bool{}}, cl
}

// isNow is a job of the fake as it is, and the zero one if it is not there.
func (f *fake) isNow(id string) api.Job {
	f.mu.Lock()
	defer f.mu.Unlock()
	if j := f.jobs[id]; j != nil {
		return *j
	}
	return api.Job{}
}

const another = "{name: another, command: [/bin/a]}"

// Yes is said to what was shown: a job that is another by then is asked about anew, and
// is not stopped if the answer is no.
func TestPruneAsksAnewAboutWhatChanged(t *testing.T) {
	f := withFake(t)
	var questions []string
	r, cl := asking(t, f, another, func(question string) bool {
		f.mu.Lock() // somebody starts it anew before the answer
		defer f.mu.Unlock()
		f.jobs["web"].Revision++
		questions = append(questions, question)
		return len(questions) < 3
	})
	answer, err := r.do(t.Context(), cl)
	if answer != nil || err != nil || len(questions) != 3 || !strings.Contains(questions[2], "1 job with that label: web\n") {
		t.Errorf("%+v %v after %q", answer, err, questions)
	}
	if f.isNow("web").Stop || f.isNow("another").ID != "" {
		t.Error("what was not said yes to was done")
	}
	questions = nil
	r, cl = asking(t, f, another, func(question string) bool { questions = append(questions, question); return true })
	f.mu.Lock()
	f.raced = 2 // another document's job changes meanwhile: the yes is still to the same
	f.mu.Unlock()
	if answer, err = r.do(t.Context(), cl); err != nil || answer == nil || !f.isNow("web").Stop || len(questions) != 1 {
		t.Errorf("%+v %v after %q", answer, err, questions)
	}
}

// All that yes would stop is shown, however much it is.
func TestPruneShowsAll(t *testing.T) {
	f := withFake(t)
	f.jobs["58"].Spec.Name, f.jobs["58"].Spec.Labels = "58", map[string]string{"team": "web"}
	shown := ""
	r, cl := asking(t, f, another, func(question string) bool { shown = question; return false })
	if _, err := r.do(t.Context(), cl); err != nil || !strings.Contains(shown, "2 jobs with that label: 58, web\n") {
		t.Errorf("%q, %v", shown, err)
	}
}

// A job without a name is in no file whatever the files say, so it is not pruned.
func TestPruneLeavesWhatCannotBeNamed(t *testing.T) {
	f := withFake(t)
	f.jobs["58"].Spec.Labels = map[string]string{"team": "web"}
	r, cl := asking(t, f, another, nil)
	r.yes = true
	answer, err := r.do(t.Context(), cl)
	if err != nil || f.isNow("58").Stop || !f.isNow("web").Stop {
		t.Errorf("%+v %v", answer, err)
	}
}

// Yes to what is pruned is not yes to run batches again.
func TestYesIsToPruneAlone(t *testing.T) {
	f := withFake(t)
	f.jobs["ml"].State = api.JobFinished
	const changed = "{name: ml, kind: batch, array: 0-7, command: [/bin/train]}"
	r, cl := asking(t, f, changed, nil)
	r.yes = true
	if _, err := r.do(t.Context(), cl); err == nil || !strings.Contains(err.Error(), "--again") || f.isNow("web").Stop || f.isNow("ml").Version != 1 {
		t.Errorf("%v", err)
	}
	var questions []string
	r, cl = asking(t, f, changed, func(question string) bool { questions = append(questions, question); return true })
	r.yes = true
	if _, err := r.do(t.Context(), cl); err != nil || len(questions) != 1 || !strings.Contains(questions[0], "run again?") || f.isNow("ml").Version != 2 {
		t.Errorf("%v after %q", err, questions)
	}
}
