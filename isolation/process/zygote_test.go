//go:build (amd64 || arm64) && !startbythread

package process

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func runs(t *testing.T, st *Starter, c Spec) (Exit, error) {
	t.Helper()
	b, err := st.Begin(Place{}, c, Files{}, nil)
	if err != nil {
		return Exit{}, err
	}
	p, err := b.Wait()
	if err != nil {
		return Exit{}, err
	}
	return p.Wait()
}

func shell(script string) Spec {
	return Spec{Program: Program{Path: "/bin/sh", Args: []string{"sh", "-c", script}, Dir: "/", UID: uint32(os.Geteuid())}}
}

// each calls f with each zygote, or nil where there is none.
func (zs *zygotes) each(f func(*zygote)) {
	for range zs.most() {
		z := <-zs.queue()
		f(z)
		zs.queue() <- z
	}
}

// Whoever kills or stops what newborns are clones of, as an admin by mistake, keeps none
// from being started, and none of those is left.
func TestAZygoteThatAnswersNoMore(t *testing.T) {
	for name, sig := range map[string]unix.Signal{"killed": unix.SIGKILL, "stopped": unix.SIGSTOP} {
		t.Run(name, func(t *testing.T) {
			st := &Starter{ProcRoot: "/proc", Log: slog.New(slog.DiscardHandler)}
			for range 3 {
				if e, err := runs(t, st, shell("exit 3")); err != nil || e != (Exit{Code: 3}) {
					t.Fatalf("%+v, %v", e, err)
				}
				var pids []int
				st.zygotes.each(func(z *zygote) {
					if z == nil {
						return
					}
					pids = append(pids, z.pid)
					if err := unix.Kill(z.pid, sig); err != nil {
						t.Fatal(err)
					}
					err := ignoreInterrupt(func() error { return unix.Waitid(unix.P_PID, z.pid, nil, unix.WEXITED|unix.WSTOPPED|unix.WNOWAIT, nil) })
					if err != nil {
						t.Fatal(err)
					}
				})
				for range st.zygotes.most() {
					if e, err := runs(t, st, shell("exit 3")); err != nil || e != (Exit{Code: 3}) {
						t.Fatalf("%+v, %v", e, err)
					}
				}
				for _, pid := range pids {
					if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); !errors.Is(err, unix.ECHILD) {
						t.Errorf("a zygote is left: %v", err)
					}
				}
			}
		})
	}
}

// What answers something else than what the kernel says of its clone is not believed,
// and ended.
func TestAZygoteThatAnswersNonsense(t *testing.T) {
	for _, answer := range [][]byte{{1, 0, 0, 0, 0, 0, 0, 0}, make([]byte, 8), {1, 2, 3}, {}} {
		st := &Starter{ProcRoot: "/proc", Log: slog.New(slog.DiscardHandler)}
		if e, err := runs(t, st, shell("exit 3")); err != nil || e != (Exit{Code: 3}) {
			t.Fatalf("%+v, %v", e, err)
		}
		st.zygotes.each(func(z *zygote) {
			if z == nil {
				return
			}
			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			z.sock.Close()
			z.sock = os.NewFile(uintptr(pair[0]), "zygote")
			t.Cleanup(func() { unix.Close(pair[1]) })
			if _, err := unix.Write(pair[1], answer); err != nil {
				t.Fatal(err)
			}
			if err := unix.Shutdown(pair[1], unix.SHUT_WR); err != nil {
				t.Fatal(err)
			}
		})
		for range st.zygotes.most() {
			if e, err := runs(t, st, shell("exit 3")); err != nil || e != (Exit{Code: 3}) {
				t.Errorf("%x: %+v, %v", answer, e, err)
			}
		}
	}
}

// unborn is a birth up to the clone.
func unborn(t *testing.T, c Spec) (*Birth, *zygote) {
	t.Helper()
	st := &Starter{ProcRoot: "/proc", Log: slog.New(slog.DiscardHandler)}
	if err := st.prepare("/proc"); err != nil {
		t.Fatal(err)
	}
	b := &Birth{st: st, c: c, init: c.PrivatePIDs, group: -1, tell: -1, target: -1}
	if err := b.open(Files{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.closeOurs)
	z, err := st.zygotes.take(&st.starter, st.ProcRoot, b.room(), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		z.end()
		st.zygotes.giveBack(z)
	})
	b.arena = z.script
	return b, z
}

// A newborn whose zygote could not answer any more runs nothing: it would be nobody's.
func TestANewbornThatNobodyHearsOf(t *testing.T) {
	made := t.TempDir() + "/made"
	c := shell("echo >" + made)
	c.PrivatePIDs = os.Geteuid() == 0
	b, z := unborn(t, c)
	if err := b.clone(z); err != nil {
		t.Fatal(err)
	}
	b.closeOurs()
	b.news.Close() // as if it had not been answered
	if _, err := b.newborn.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(made); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its program ran: %v", err)
	}
	b.status.Close()
}

// A newborn is known, and continues, also if its zygote was killed before it answered.
func TestAZygoteThatIsKilledAfterItsClone(t *testing.T) {
	b, z := unborn(t, shell("exit 3"))
	first := b.script()
	a := cloneArgs{flags: unix.CLONE_PARENT | unix.CLONE_PARENT_SETTID | unix.CLONE_VFORK, parentTID: uint64(address(z.born))} // until the newborn has its program
	size := a.into(-1)
	var killed sync.WaitGroup
	killed.Go(func() {
		for atomic.LoadUint32(z.born) == 0 {
			runtime.Gosched()
		}
		if err := unix.Kill(z.pid, unix.SIGKILL); err != nil {
			t.Error(err)
		}
	})
	defer killed.Wait()
	pid, refused, err := z.bear(b.arena.bytes(false, (*[unsafe.Sizeof(a)]byte)(unsafe.Pointer(&a))[:]), size, first, b.send)
	if err != nil || refused != 0 || pid == 0 || !z.over {
		t.Fatalf("newborn %d, %v, %v", pid, refused, err)
	}
	b.newborn = &Process{Pid: pid, child: pid}
	if err := b.letBegin(); err != nil {
		t.Fatal(err)
	}
	b.closeOurs()
	p, err := b.wait()
	if err != nil {
		t.Fatal(err)
	}
	if e, err := p.Wait(); err != nil || e != (Exit{Code: 3}) {
		t.Errorf("%+v, %v", e, err)
	}
}

// What was stopped before its program began can be killed all the same, and is
// waited for.
func TestAStoppedNewbornIsKilled(t *testing.T) {
	for _, namespace := range []bool{false, os.Geteuid() == 0} {
		made := t.TempDir() + "/made"
		c := shell("echo >" + made)
		c.PrivatePIDs = namespace
		b, z := unborn(t, c)
		if err := b.clone(z); err != nil {
			t.Fatal(err)
		}
		b.closeOurs()
		if err := b.newborn.Signal(unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		if err := ignoreInterrupt(func() error { return unix.Waitid(unix.P_PID, b.newborn.Pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil) }); err != nil {
			t.Fatal(err)
		}
		pid := b.newborn.Pid
		if err := errors.Join(b.letBegin(), b.Kill()); err != nil {
			t.Fatal(err)
		}
		if _, err := b.wait(); !errors.Is(err, ErrEnded) {
			t.Errorf("%v", err)
		}
		if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); !errors.Is(err, unix.ECHILD) {
			t.Errorf("it is left: %v", err)
		}
		if _, err := os.Stat(made); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("its program ran: %v", err)
		}
	}
}

// TestLargeScripts: what a start has of text may be more than fits what is there.
func TestLargeScripts(t *testing.T) {
	st := &Starter{ProcRoot: "/proc", Log: slog.New(slog.DiscardHandler)}
	c := shell(`test ${#X19} = 100000 && test "$Y" = z`)
	for i := range 20 {
		c.Env = append(c.Env, "X"+string(rune('0'+i/10))+string(rune('0'+i%10))+"="+strings.Repeat("x", 100_000))
	}
	c.Env = append(c.Env, "Y=z")
	for range 2 {
		if e, err := runs(t, st, c); err != nil || e != (Exit{}) {
			t.Errorf("%+v, %v", e, err)
		}
		if e, err := runs(t, st, shell("exit 3")); err != nil || e != (Exit{Code: 3}) {
			t.Errorf("%+v, %v", e, err)
		}
	}
}

// What a newborn does not find it cannot give away: not what we have open or in
// memory, and not what another start had.
func TestNewbornsHaveNothingOfOurs(t *testing.T) {
	st := &Starter{ProcRoot: "/proc", Log: slog.New(slog.DiscardHandler)}
	for range 3 {
		if e, err := runs(t, st, shell("test $(ls /proc/self/fd | wc -l) = 4")); err != nil || e != (Exit{}) { // and what ls reads
			t.Errorf("%+v, %v", e, err)
		}
	}
	for range st.zygotes.most() {
		z := <-st.zygotes.queue()
		if z != nil {
			fds, err := os.ReadDir("/proc/" + strconv.Itoa(z.pid) + "/fd")
			if err != nil || len(fds) != firstFile {
				t.Errorf("a zygote has %d files, %v", len(fds), err)
			}
			maps, err := os.ReadFile("/proc/" + strconv.Itoa(z.pid) + "/maps")
			if err != nil || !st.pinned && strings.Contains(string(maps), "[heap]") {
				t.Errorf("a zygote has our memory: %v\n%s", err, maps)
			}
		}
		st.zygotes.queue() <- z
	}
}

// A zygote that is woken amid a script, as by a signal or a freeze, runs no part of it,
// and takes nothing of it for the beginning of another.
func TestNoPartOfAScriptIsRun(t *testing.T) {
	st := &Starter{ProcRoot: "/proc", Log: slog.New(slog.DiscardHandler)}
	if err := st.prepare("/proc"); err != nil {
		t.Fatal(err)
	}
	z, err := st.zygotes.take(&st.starter, st.ProcRoot, 1000, 0)
	if err != nil {
		t.Fatal(err)
	}
	h := header{script: vector{z.script.at(0), 4000}, rest: 4008}
	b := unsafe.Slice((*byte)(unsafe.Pointer(&h)), unsafe.Sizeof(h))
	if _, err := z.sock.Write(append(b, make([]byte, 100)...)); err != nil {
		t.Fatal(err)
	}
	if err := unix.Shutdown(int(z.sock.Fd()), unix.SHUT_WR); err != nil { // the kernel cuts it short
		t.Fatal(err)
	}
	if b, err := io.ReadAll(z.sock); err != nil || len(b) != 0 {
		t.Errorf("it answered %x, %v", b, err)
	}
	if born, err := z.end(); born != 0 || err != nil {
		t.Errorf("it made %d, %v", born, err)
	}
	st.zygotes.giveBack(z)
	if e, err := runs(t, st, shell("exit 3")); err != nil || e != (Exit{Code: 3}) {
		t.Errorf("%+v, %v", e, err)
	}
}

// A newborn has the capabilities that it is to have, whatever those before it, of the
// same zygotes, were to have: what all usual ones drop has left those of their zygote.
func TestANewbornHasTheCapabilitiesOfItsSpec(t *testing.T) {
	st := &Starter{ProcRoot: "/proc", Log: slog.New(slog.DiscardHandler)}
	if err := st.prepare("/proc"); err != nil {
		t.Fatal(err)
	}
	if st.own.permitted&(1<<unix.CAP_SETPCAP) == 0 {
		t.Skip("to drop capabilities takes CAP_SETPCAP: run it as root")
	}
	usual, has := ^UsualCapabilities, st.own.bounding
	start := func(forbidden uint64) {
		t.Helper()
		want := has &^ forbidden
		c := shell(fmt.Sprintf("grep -q 'CapBnd:.%016x' /proc/self/status", want))
		c.Forbidden = forbidden
		if e, err := runs(t, st, c); err != nil || e != (Exit{}) {
			t.Errorf("without %x: %+v, %v", forbidden, e, err)
		}
	}
	without := func(want uint64) {
		t.Helper()
		st.zygotes.each(func(z *zygote) {
			if z != nil && z.without != want {
				t.Errorf("a zygote has dropped %x, want %x", z.without, want)
			}
		})
	}
	all := func(forbidden uint64) {
		t.Helper()
		for range st.zygotes.most() {
			start(forbidden)
		}
	}
	all(usual)
	without(has & usual)
	all(^uint64(0))
	without(has & usual)
	for _, forbidden := range []uint64{0, usual, usual &^ (1 << unix.CAP_SYS_ADMIN), 1 << unix.CAP_KILL, usual} {
		all(forbidden)
		without(0) // one that has all is good for each
	}
}
