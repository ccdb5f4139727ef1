package integration

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/lab"
)

// fromLaptop runs the command line as somebody with a home of their own and nothing of a
// node's, who reaches only its address.
func fromLaptop(n *lab.Node, home string, args ...string) (out string, err error) {
	n.T.Helper()
	c := exec.Command("nsenter", append([]string{"--net=/run/netns/" + n.NS, n.Bin}, args...)...)
	c.Env = []string{"HOME=" + home, "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "MESITA_SOCKET="}
	var both bytes.Buffer
	c.Stdout, c.Stderr = &both, &both
	err = c.Run()
	return both.String(), err
}

// loggedIn logs in at a node with a token alone, and asks it something.
func loggedIn(n *lab.Node, home, token string) {
	n.T.Helper()
	if out, err := fromLaptop(n, home, "login", n.IP, "--token", token); err != nil {
		n.T.Errorf("login at %s: %v: %s", n.Name, err, out)
	}
	if out, err := fromLaptop(n, home, "node", "ls", "-q"); err != nil || !strings.Contains(out, n.Name) {
		n.T.Errorf("%s does not answer who logged in: %v: %s", n.Name, err, out)
	}
}

// A token is all that somebody elsewhere needs, and a cluster that it is not of is not
// shown it.
func TestATokenIsAllThatALoginNeeds(t *testing.T) {
	l := newLab(t, 2)
	l.Form()
	n := l.Nodes[0]
	token := n.Token(api.TokenRequest{Kind: api.TokenClient, Name: "laptop", Role: api.RoleViewer})
	for _, n := range l.Nodes {
		loggedIn(n, t.TempDir(), token)
	}
	for _, addr := range []string{"https://" + n.IP + ":5050", "https://" + n.IP, n.IP + ":5050"} {
		if out, err := fromLaptop(n, t.TempDir(), "login", addr, "--token", token); err != nil {
			t.Errorf("login %s: %v: %s", addr, err, out)
		}
	}
	admin, err := os.ReadFile(filepath.Join(l.Nodes[0].Dir, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	loggedIn(n, t.TempDir(), strings.TrimSpace(string(admin)))
	shown, err := api.ParseClientToken(token)
	if err != nil || shown.Pin == "" {
		t.Fatalf("%+v, %v", shown, err)
	}
	shown.Pin = strings.Repeat("a", len(shown.Pin))
	out, err := fromLaptop(n, t.TempDir(), "login", n.IP, "--token", shown.String())
	if err == nil || !strings.Contains(out, "the CA pin does not match") {
		t.Errorf("a token of another cluster: %v: %s", err, out)
	}
	shown.Pin = ""
	if out, err := fromLaptop(n, t.TempDir(), "login", n.IP, "--token", shown.String()); err == nil || !strings.Contains(out, "name it with --ca") {
		t.Errorf("a token without a pin, and no CA: %v: %s", err, out)
	}
}
