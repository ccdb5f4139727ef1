package keeper_test

import (
	"fmt"
	"net"
	"os"
	"testing"
)

// Once a keeper was out of files it serves again as soon as it has some: nobody
// else can serve its tasks.
func TestAKeeperOutOfFiles(t *testing.T) {
	r := newRig(t)
	r.cfg.Argv = append([]string{"/bin/sh", "-c", `ulimit -n 40; exec "$0" "$@"`}, r.cfg.Argv...)
	c := r.client()
	c.start("a.0/1", "/bin/sleep", "1000")
	pid, err := os.ReadFile(r.dir + "/pid")
	if err != nil {
		t.Fatal(err)
	}
	var many []net.Conn
	files := 0
	r.until("it has no file left", func() bool {
		sock, err := net.Dial("unix", r.dir+"/sock")
		if err != nil {
			t.Fatal(err)
		}
		many = append(many, sock)
		var id int
		if _, err := fmt.Sscan(string(pid), &id); err != nil {
			t.Fatal(err)
		}
		fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", id))
		if files = len(fds); files >= 40 {
			return true
		}
		return false
	})
	c.leave()
	for _, sock := range many {
		sock.Close()
	}
	c = r.client()
	if got := c.states(); len(got) != 1 {
		t.Errorf("%v", got)
	}
	c.start("a.1/1", "/bin/true")
	if st := c.exit("a.1/1"); st.Code != 0 {
		t.Errorf("%+v", st)
	}
}
