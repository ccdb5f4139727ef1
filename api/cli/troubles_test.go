package cli

import "testing"

func TestTroubles(t *testing.T) {
	log := `something for people
time=2026-01-01T00:00:00Z level=INFO msg=fine err=no
time=2026-01-01T00:00:00Z level=ERROR msg="this voter is damaged" err="raft.db is gone, and \"oak\" has voted"
time=2026-01-01T00:00:01Z level=ERROR msg="this voter is damaged" err="raft.db is gone, and \"oak\" has voted" node=oak
time=2026-01-01T00:00:02Z level=ERROR msg=short err=EOF more=1
{"time":"2026-01-01T00:00:03Z","level":"ERROR","msg":"x","err":"as JSON"}
{"level":"ERROR"
`
	want := "! raft.db is gone, and \"oak\" has voted\n! EOF\n! as JSON\n"
	if got := troubles(log); got != want {
		t.Errorf("%q", got)
	}
}
