//go:build startbythread || !(amd64 || arm64)

package isolation

import "testing"

const firstPID, shownPIDs = "1", 2

func TestProcByTheTool(t *testing.T) {
	h := newHost(t)
	h.starter.prepare()
	if h.starter.tool == "" {
		skip(t, "mount(8) is not installed")
	}
	h.starter.option = false
	s := create(t, h, "job/task", Limits{PIDs: 20})
	c := sh("echo $$; ls -d /proc/[0-9]* | wc -l")
	c.PrivatePIDs, c.PrivateMounts, c.UID, c.GID = true, true, 65534, 65534
	out, e := output(t, s, c)
	if e != (Exit{}) || out != "1\n2" && out != "1\n3" {
		t.Errorf("%+v: %q", e, out)
	}
}
