package keeper_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/isolation"
)

// A program with a keeper's command line, that holds a keeper's lock.
const keeperLike = `exec 9>>"$2/lock"
echo ready
read x
`

// others is a node about to start, beside keepers of other folders.
type others struct {
	testing.TB
	dir, slice, root string
	host             *isolation.Host
}

func newOthers(t testing.TB) *others {
	if os.Getuid() != 0 {
		t.Skip("making cgroups needs root")
	}
	o := &others{TB: t, dir: t.TempDir(), slice: fmt.Sprintf("mesita-test-%d-others", os.Getpid())}
	for _, root := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err == nil && o.root == "" {
			o.root = root
		}
	}
	if o.root == "" {
		t.Skip("no cgroup v2 here")
	}
	t.Cleanup(func() { removeTree(o.slice) })
	var err error
	if o.host, err = isolation.Detect(isolation.Config{Slice: o.slice}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(o.dir, "keeper"), []byte(keeperLike), 0o600); err != nil {
		t.Fatal(err)
	}
	return o
}

// keeper starts one, after a shell's preparation, and returns what reports
// whether it lives.
func (o *others) keeper(prepare, dir, root string) (lives func() bool) {
	o.Helper()
	argv := []string{"/bin/sh", "-c", prepare + `exec /bin/sh keeper --dir "$0" --slice "$1" --cgroup-root "$2"`, dir, o.slice, root}
	if prepare != "" {
		argv = append([]string{"unshare", "-m"}, argv...)
	}
	c := exec.CommandContext(o.Context(), argv[0], argv[1:]...)
	c.Dir = o.dir
	in, ierr := c.StdinPipe()
	out, oerr := c.StdoutPipe()
	if err := errors.Join(ierr, oerr, os.MkdirAll(dir, 0o700), c.Start()); err != nil {
		o.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		o.Fatal(line, err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.Wait() // killed or not is what lives tells
	}()
	o.Cleanup(func() {
		_ = in.Close() // it ends
		<-ended
	})
	return func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.Process.Pid))
		return err == nil && !strings.Contains(string(stat), ") Z ")
	}
}

func (o *others) start(inUse func(string) bool) error {
	dir := filepath.Join(o.dir, "ours", "keeper")
	ctx, cancel := context.WithTimeout(o.Context(), time.Second) // the keepers here never answer
	defer cancel()
	return keeper.EndOthers(ctx, keeper.ClientConfig{Dir: dir, Argv: []string{"/bin/false", "keeper", "--dir", dir, "--slice", o.slice},
		Log: slog.New(slog.DiscardHandler)}, o.host, inUse)
}

func nobody(string) bool { return false }

// A keeper in another cgroup is not the business of a node that starts, even if its
// slice has the same name, and its folder is gone.
func TestAKeeperInAnotherCgroupIsLeftAlone(t *testing.T) {
	o := newOthers(t)
	root := filepath.Join(o.root, o.slice, "elsewhere")
	if err := os.MkdirAll(filepath.Join(root, o.slice), 0o755); err != nil {
		t.Fatal(err)
	}
	theirs := filepath.Join(o.dir, "theirs")
	lives := o.keeper("", theirs, root)
	if err := errors.Join(os.RemoveAll(theirs), o.start(nobody)); err != nil || !lives() {
		t.Errorf("the start: %v; the keeper lives: %v", err, lives())
	}
}

// A task that is not root cannot keep its node from starting, or have a process
// ended, by what it says that it is.
func TestAKeeperOfAnotherUserIsNone(t *testing.T) {
	o := newOthers(t)
	theirs := filepath.Join(o.dir, "theirs")
	lives := o.keeper(`chown 65534 "$0" && chmod 755 . .. && chmod 644 keeper && exec setpriv --reuid=65534 --regid=65534 --clear-groups /bin/sh keeper --dir "$0" --slice "$1" --cgroup-root "$2"; `,
		theirs, o.root)
	if err := o.start(nobody); err != nil || !lives() {
		t.Errorf("the start: %v; the process lives: %v", err, lives())
	}
}

// A keeper in the same cgroup whose files are not ours, as in a container, is
// never ended; its folder is the one that it has, not ours of the same name.
func TestAKeeperOfOtherMountsIsNotEnded(t *testing.T) {
	o := newOthers(t)
	theirs := filepath.Join(o.dir, "ours", "keeper")
	lives := o.keeper(`mount -t tmpfs none "$0" && `, theirs, o.root)
	ours, err := os.Stat(theirs)
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	err = o.start(func(dir string) bool {
		fi, err := os.Stat(dir)
		if err != nil || os.SameFile(fi, ours) {
			t.Errorf("our own folder was looked at for theirs (%v)", err)
		}
		asked++
		return false
	})
	if err == nil || !strings.Contains(err.Error(), "--slice") || !lives() || asked != 1 {
		t.Errorf("the start: %v; the keeper lives: %v; asked %d times", err, lives(), asked)
	}
}

// A keeper that does not answer is killed only if its folder was moved or
// deleted: a daemon may come back to one that is where it was.
func TestAKeeperIsKilledOnlyIfItsFolderLeft(t *testing.T) {
	for name, leave := range map[string]func(string) error{
		"moved":   func(dir string) error { return os.Rename(dir, dir+".old") },
		"deleted": os.RemoveAll,
		"deleted, and a copy has hard links to it": func(dir string) error {
			return errors.Join(os.Mkdir(dir+".copy", 0o700), os.Link(filepath.Join(dir, "lock"), filepath.Join(dir+".copy", "lock")), os.RemoveAll(dir))
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOthers(t)
			theirs := filepath.Join(o.dir, "theirs")
			lives := o.keeper("", theirs, "")
			if err := o.start(nobody); err == nil || !strings.Contains(err.Error(), o.dir) || !lives() {
				t.Fatalf("in place: the start: %v; the keeper lives: %v", err, lives())
			}
			if err := errors.Join(leave(theirs), o.start(nobody)); err != nil {
				t.Fatal(err)
			}
			(&rig{TB: t}).until("the keeper is killed", func() bool { return !lives() })
		})
	}
}

// A keeper beside the node's first is its own, whoever of them lives: neither it
// nor its tasks are of an earlier life.
func TestAKeeperBesideIsNoOther(t *testing.T) {
	o := newOthers(t)
	beside := filepath.Join(o.dir, "ours", "keeper-2")
	lives := o.keeper("", beside, o.root)
	if err := os.WriteFile(filepath.Join(beside, "pid"), []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := o.host.Create("default/a/0-a1", isolation.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Start(isolation.Spec{Program: program("/bin/sleep", "1000")}, isolation.Files{})
	if err != nil {
		t.Fatal(err)
	}
	err = o.start(func(dir string) bool {
		t.Errorf("%s is taken for another node's", dir)
		return false
	})
	left, perr := s.Populated()
	if err != nil || !lives() || !left || perr != nil {
		t.Errorf("the start: %v; the keeper lives: %v; its task lives: %v, %v", err, lives(), left, perr)
	}
	if err := errors.Join(s.Kill(), s.Delete(t.Context())); err != nil {
		t.Error(err)
	}
	if _, err := p.Wait(); err != nil {
		t.Error(err)
	}
}
