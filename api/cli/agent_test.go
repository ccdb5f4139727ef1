package cli

import (
	"strings"
	"testing"
)

func TestDaemonArgsHideTheToken(t *testing.T) {
	for in, want := range map[string]string{
		"node start":                              "node start --foreground",
		"node join --token secret a:1 --name x":   "node join a:1 --name x --foreground",
		"node join --token=secret -- a:1":         "node join --foreground -- a:1",
		"node join --token-file f --attr a=b oak": "node join --token-file f --attr a=b oak --foreground",
	} {
		if got := strings.Join(daemonArgs(strings.Fields(in)), " "); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestHumanPartOfADaemonsLog(t *testing.T) {
	log := "time=2026-05-01T12:00:00Z level=INFO msg=x\n✓ raft 1/1\n{\"time\":\"…\"}\nerror: listen: taken\n"
	if got := human(log); got != "✓ raft 1/1\nerror: listen: taken\n" {
		t.Errorf("got %q", got)
	}
	if got := lastError("time=1 level=ERROR\n"); got != "time=1 level=ERROR\n" {
		t.Errorf("got %q", got)
	}
}
