package integration

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/integration/lab"
)

// Who was told that it will be preempted has all of that time, and nobody else is told,
// though the leader is killed meanwhile: when it ends is written in the log.
func TestANoticeOutlivesTheLeader(t *testing.T) {
	const notice = 8 * time.Second
	l := newLab(t, 3)
	l.Form()
	leader := l.Leader()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	leader.Must(http.MethodPut, "/v1/partitions/owner?create=1", map[string]any{"guarantee": map[string]any{"cpus": leader.CPUs}}, nil)
	leader.Must(http.MethodPut, "/v1/partitions/guest?create=1", map[string]any{"preempt": "kill", "notice": notice.String()}, nil)
	tell := `say() { echo "$1 $(date +%s%N)" >> ` + dir + `/$MESITA_INDEX; }
trap 'say notice' USR1
trap 'say stop; exit 0' TERM
say begin
while :; do sleep 0.05; done`
	guests := leader.Submit(map[string]any{"kind": "batch", "name": "guests", "partition": "guest", "array": "0-2", "cpus": leader.CPUs, "mem": "16MiB", "noticeSignal": "USR1", "unconfined": []string{"tmp"},
		"command": []string{"/bin/sh", "-c", tell}})
	said := func(index, what string) (at []time.Time) {
		b, err := os.ReadFile(filepath.Join(dir, index))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			word, ns, _ := strings.Cut(strings.TrimSpace(line), " ")
			if n, err := strconv.ParseInt(ns, 10, 64); err == nil && word == what {
				at = append(at, time.Unix(0, n))
			}
		}
		return at
	}
	all := []string{"0", "1", "2"}
	l.Await(lab.Patience, "the guests to use all of it", func() bool {
		return len(said("0", "begin")) > 0 && len(said("1", "begin")) > 0 && len(said("2", "begin")) > 0 && len(leader.Running(guests.ID)) == 3
	})
	owner := leader.Submit(map[string]any{"kind": "service", "name": "owner", "partition": "owner", "cpus": leader.CPUs, "mem": "16MiB", "command": []string{"/bin/sleep", "1000"}})
	victim := ""
	l.Await(lab.Patience, "one to be told", func() bool {
		for _, i := range all {
			if len(said(i, "notice")) > 0 {
				victim = i
			}
		}
		return victim != ""
	})
	other := l.Other(leader)
	leader.Kill()
	l.Await(lab.Patience, "another leader", func() bool {
		n := l.LeaderNow()
		return n != nil && n != leader
	})
	leader.Start()
	l.Await(lab.Patience, "the owner to run", func() bool { return len(other.Running(owner.ID)) == 1 })
	for _, i := range all {
		told, stopped := said(i, "notice"), said(i, "stop")
		switch {
		case i != victim:
			if len(told)+len(stopped) > 0 {
				t.Errorf("%s was told %d times and stopped %d times, though %s left", i, len(told), len(stopped), victim)
			}
		case len(stopped) != 1:
			t.Errorf("the one that was told was stopped %d times", len(stopped))
		case stopped[0].Sub(told[0]) < notice-time.Second: // the log's clock has seconds of its own
			t.Errorf("it had %s of %s", stopped[0].Sub(told[0]), notice)
		}
	}
}
