//go:build (amd64 || arm64) && !startbythread

package process

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
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

// Whoever kills what newborns are clones of, as an admin by mistake, keeps none from
// being started.
func TestAZygoteThatWasKilled(t *testing.T) {
	st := &Starter{ProcRoot: "/proc", Log: slog.New(slog.DiscardHandler)}
	for range 3 {
		if e, err := runs(t, st, shell("exit 3")); err != nil || e != (Exit{Code: 3}) {
			t.Fatalf("%+v, %v", e, err)
		}
		for range st.zygotes.most() {
			z := <-st.zygotes.queue()
			if z != nil {
				if err := unix.Kill(z.pid, unix.SIGKILL); err != nil {
					t.Fatal(err)
				}
				err := ignoreInterrupt(func() error { return unix.Waitid(unix.P_PID, z.pid, nil, unix.WEXITED|unix.WNOWAIT, nil) })
				if err != nil {
					t.Fatal(err)
				}
			}
			st.zygotes.queue() <- z
		}
	}
}

// A newborn whose zygote could not answer any more runs nothing: it would be nobody's.
func TestANewbornThatNobodyHearsOf(t *testing.T) {
	st := &Starter{ProcRoot: "/proc", Log: slog.New(slog.DiscardHandler)}
	made := t.TempDir() + "/made"
	c := shell("echo >" + made)
	c.PrivatePIDs = os.Geteuid() == 0
	if err := st.prepare("/proc"); err != nil {
		t.Fatal(err)
	}
	b := &Birth{st: st, c: c, init: c.PrivatePIDs, group: -1, tell: -1, target: -1}
	if err := b.open(Files{}); err != nil {
		t.Fatal(err)
	}
	z, err := st.zygotes.take(&st.starter, st.ProcRoot, b.room())
	if err != nil {
		t.Fatal(err)
	}
	b.arena = z.script
	if err := b.clone(z); err != nil {
		t.Fatal(err)
	}
	st.zygotes.giveBack(z)
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
	z, err := st.zygotes.take(&st.starter, st.ProcRoot, 1000)
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
	z.lost = true
	st.zygotes.giveBack(z)
	if e, err := runs(t, st, shell("exit 3")); err != nil || e != (Exit{Code: 3}) {
		t.Errorf("%+v, %v", e, err)
	}
}
