package integration

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/mesita/mesita/integration/lab"
)

// A node that was told no address takes the one of the default route, whatever bridge of
// containers comes before, names the others, and lives on under another one when the
// machine gets it.
func TestANodeFollowsItsMachine(t *testing.T) {
	l := newLab(t, 1)
	n := l.Nodes[0]
	for _, args := range []string{"link add docker0 type bridge", "addr add 172.17.0.1/16 dev docker0", "link set docker0 up",
		"route add default via 10.77.0.254 dev eth0"} {
		l.Run("ip", append([]string{"-n", n.NS}, strings.Fields(args)...)...)
	}
	start := exec.Command("nsenter", "--net=/run/netns/"+n.NS, n.Bin, "--socket", n.Socket, "node", "start", "--name", n.Name,
		"--data", n.Dir+"/data", "--slice", n.Slice())
	text := onTerminal(t, start)
	for _, want := range []string{"api=https://" + n.IP + ":5050 ", "--advertise takes another: 172.17.0.1 (docker0)",
		"node join " + n.IP + " --token"} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q: %s", want, text)
		}
	}
	at := func(addr string) bool {
		out, _, _ := n.CLI("node", "ls", "-o", "wide")
		return strings.Contains(out, " ready ") && strings.Contains(out, " "+addr+":5050 ")
	}
	if !at(n.IP) {
		t.Errorf("it is not at %s", n.IP)
	}
	n.Move("10.77.0.55")
	l.Await(lab.Patience, "it to be at its new address", func() bool { return at("10.77.0.55") })
	if _, errs, code := n.CLI("node", "stop"); code != 0 {
		t.Errorf("stop it: %s", errs)
	}
}
