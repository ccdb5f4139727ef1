package isolation

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mesita/mesita/isolation/process"
)

// needs are what servers, builds, databases and machines of their own code do with
// files and memory of passing use, each by the program that it begins with.
var needs = map[string]string{
	"temporary files":     `sh f=$(mktemp) && d=$(mktemp -d /tmp/x.XXXXXX) && echo x > "$f" && mv "$f" "$d/y" && grep -q x "$d/y" && rm -r "$d"`,
	"locks":               `flock f=/tmp/lock.$$; flock -n $f true && flock $f sh -c "! flock -n $f true"`,
	"pipes and sockets":   `python3 python3 -c "import socket, tempfile, os; d = tempfile.mkdtemp(); s = socket.socket(socket.AF_UNIX); s.bind(d + '/s'); s.listen(); c = socket.socket(socket.AF_UNIX); c.connect(d + '/s'); s.accept()[0].send(b'x'); assert c.recv(1) == b'x'; os.mkfifo(d + '/f')"`,
	"shared memory":       `python3 python3 -c "from multiprocessing import shared_memory as m; a = m.SharedMemory(create=True, size=1 << 20); a.buf[0] = 7; b = m.SharedMemory(a.name); assert b.buf[0] == 7; b.close(); a.close(); a.unlink()"`,
	"semaphores by name":  `python3 python3 -c "import multiprocessing as m; s = m.Semaphore(1); assert s.acquire(False) and not s.acquire(False)"`,
	"waiting for much":    `python3 python3 -c "import select, os; e = select.epoll(); r, w = os.pipe(); e.register(r, select.EPOLLIN); os.write(w, b'x'); assert e.poll(5)"`,
	"machine code":        `python3 python3 -c "import mmap; mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)"`,
	"code in a file":      `python3 python3 -c "import mmap, tempfile; f = tempfile.TemporaryFile(); f.truncate(4096); mmap.mmap(f.fileno(), 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)"`,
	"a file in memory":    `python3 python3 -c "import os; f = os.memfd_create('x'); os.write(f, b'x')"`,
	"a build":             `cc cd /tmp && echo 'int main(void) { return 0; }' > b.$$.c && cc -o b.$$ b.$$.c && ./b.$$`,
	"a database":          `sqlite3 test $(sqlite3 /tmp/d.$$ 'pragma journal_mode=wal; create table t(x); insert into t values (7); select x from t' | tail -1) = 7`,
	"a server of its own": `node node -e "require('http').createServer((q, r) => r.end('x')).listen(0, '127.0.0.1', function () { require('http').get({port: this.address().port}, (r) => process.exit(r.statusCode == 200 ? 0 : 1)) })"`,
	"code that is made":   `java java -Xmx128m -version`,
}

// What programs usually need a task has, as root and as nobody, with folders for
// passing use of its own.
func TestWhatProgramsNeed(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	tried := 0
	for what, need := range needs {
		name, script, _ := strings.Cut(need, " ")
		if _, err := os.Stat(filepath.Join("/usr/bin", name)); err != nil && name != "sh" {
			continue
		}
		tried++
		for _, uid := range []uint32{0, 65534} {
			c := confined(sh("PATH=/usr/bin:/bin HOME=/tmp; export PATH HOME; " + script))
			c.Dir, c.UID, c.GID, c.Temporary, c.PrivateMemory = "/", uid, uid, ownTmp(t), true
			if out, e := output(t, s, c); e != (Exit{}) {
				t.Errorf("%s, as user %d: %+v: %s", what, uid, e, out)
			}
		}
	}
	if tried < 2 {
		t.Error("this machine has nothing that could show it")
	}
}

// gains prints what it has: the user that it acts as, its effective capabilities, and
// whether it may gain any and is filtered.
const gains = `awk '/^(Uid|CapEff|NoNewPrivs|Seccomp):/ { print $1 $3 $2 }' /proc/self/status | tr '\n' ' '`

// A task gains nothing by a program that is root's for whoever runs it, by one with
// capabilities of its own, or by a library that it has loaded into every program: who
// starts it is not touched by its environment.
func TestNothingIsGainedByPrograms(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	dir, err := os.MkdirTemp("/var/tmp", "mesita-gain-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	id, err := os.ReadFile("/usr/bin/id")
	if err != nil {
		t.Fatal(err)
	}
	tool := filepath.Join(dir, "id")
	if err := os.WriteFile(tool, id, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(tool, 0o755|os.ModeSetuid|os.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	nobody := func(script string, env ...string) Spec {
		c := confined(sh(script))
		c.Dir, c.UID, c.GID, c.Env = "/", 65534, 65534, append(c.Env, env...)
		return c
	}
	if out, e := output(t, s, nobody(tool+" -u; "+tool+" -g")); e != (Exit{}) || out != "65534\n65534" {
		t.Errorf("by a program of root's it is %q, %+v", out, e)
	}
	free := nobody(tool + " -u")
	free.AllowNewPrivileges, free.FilterSyscalls = true, false
	if out, e := output(t, s, free); e != (Exit{}) || out != "0" {
		t.Errorf("nothing is shown: who may gain privileges is %q, %+v", out, e)
	}
	if _, err := exec.LookPath("cc"); err != nil {
		skip(t, "there is no compiler for the library")
	}
	source, library, mark := filepath.Join(dir, "l.c"), filepath.Join(dir, "l.so"), filepath.Join(dir, "mark")
	const code = `#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
__attribute__((constructor)) static void loaded(void) {
	FILE *f = fopen("%s", "a");
	if (f) { fprintf(f, "%%d %%d\n", (int)getuid(), (int)geteuid()); fclose(f); }
}
`
	if err := os.WriteFile(source, fmt.Appendf(nil, code, mark), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cc", "-shared", "-fPIC", "-o", library, source).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c := nobody(gains, "LD_PRELOAD="+library, "GODEBUG=gctrace=1", "GOTRACEBACK=crash", "GLIBC_TUNABLES=x=y")
	want := "Uid:6553465534 NoNewPrivs:1 Seccomp:2"
	if process.CanFilter() != nil {
		want = "Uid:6553465534 NoNewPrivs:1 Seccomp:0"
	}
	out, e := output(t, s, c)
	if got := strings.Join(strings.Fields(strings.NewReplacer("CapEff:0000000000000000", "").Replace(out)), " "); e != (Exit{}) || got != want {
		t.Errorf("with a library of its own it has %q and not %q, %+v", got, want, e)
	}
	b, err := os.ReadFile(mark)
	if err != nil || len(b) == 0 {
		t.Fatalf("the library was not loaded: nothing is shown: %v", err)
	}
	for line := range strings.Lines(string(b)) {
		if line != "65534 65534\n" {
			t.Errorf("it was loaded into a program of user %s", line)
		}
	}
}
