package cluster

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/mesita/mesita/api/auth"
)

type confining map[int]bool

func (c confining) Confines(pid int) bool { return c[pid] }

// A task's process at the unix socket is nobody that the kernel vouches for,
// though it be root; others are who they are.
func TestATaskAtTheSocket(t *testing.T) {
	for inside, wants := range map[bool]bool{true: false, false: true} {
		path := filepath.Join(t.TempDir(), "s")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		got, err := insiders{l, confining{os.Getpid(): inside}}.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer got.Close()
		if uid, ok := auth.UserOf(got); ok != wants || ok && int(uid) != os.Getuid() {
			t.Errorf("in a task: %v: user %d, %v", inside, uid, ok)
		}
	}
}
