package keeper_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/logs"
	"github.com/mesita/mesita/executor/vouch"
	"github.com/mesita/mesita/isolation"
)

// upgraded is a rig whose first keeper is of the old version and runs the task
// a.0/1, and the client of a new daemon, which may be followed by an old one.
func upgraded(t *testing.T, vouch *keeper.Vouch) (*rig, *client) {
	return upgradedFrom(t, pinned, vouch)
}

func upgradedFrom(t *testing.T, commit string, vouch *keeper.Vouch) (*rig, *client) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds an older version")
	}
	r := newRig(t)
	bin, err := oldProgram(commit)
	if err != nil {
		t.Fatalf("the version %s cannot be built: %v", commit, err)
	}
	r.cfg.OneKeeper = func() bool { return true }
	ours := r.cfg
	r.cfg.Argv = []string{bin, "keeper", "--slice", r.slice}
	r.cfg.Vouch = vouch
	old := r.client()
	old.start("a.0/1", "/bin/sh", "-c", "trap 'exit 7' USR1; echo old; while :; do sleep 0.01; done")
	old.leave()
	r.cfg = ours
	r.cfg.Vouch = vouch
	c := r.client()
	if _, err := c.Running(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r, c
}

// bounded asks for what the old keeper does not know.
func (r *rig) bounded(id string) keeper.StartRequest {
	req := r.request(id, "/bin/sh", "-c", "ulimit -Sn; while :; do sleep 0.01; done")
	req.Rlimits = []isolation.Rlimit{{Resource: unix.RLIMIT_NOFILE, Soft: 50, Hard: 60}}
	return req
}

func (r *rig) keepers() (out []string) {
	pids, _ := filepath.Glob(r.dir + "*/pid")
	for _, p := range pids {
		out = append(out, filepath.Base(filepath.Dir(p)))
	}
	return out
}

func (r *rig) killKeeper(folder string) {
	r.Helper()
	b, err := os.ReadFile(filepath.Join(filepath.Dir(r.dir), folder, "pid"))
	if err != nil {
		r.Fatal(err)
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		r.Fatal(err)
	}
}

func (c *client) states() map[string]keeper.State {
	c.r.Helper()
	all, err := c.Running(context.Background())
	if err != nil {
		c.r.Fatal(err)
	}
	out := map[string]keeper.State{}
	for _, st := range all {
		out[st.ID] = st.State
	}
	return out
}

// A task that asks for what the keeper does not know starts below a new keeper
// beside it, and never without it; the old one serves its tasks to their end,
// and ends with the last.
func TestAKeeperBesideAnOlderOne(t *testing.T) {
	r, c := upgraded(t, nil)
	c.start("b.0/1", "/bin/sleep", "1000")
	if got := r.keepers(); !slices.Equal(got, []string{"keeper"}) {
		t.Fatalf("keepers %v, though the old one knows all that was asked for", got)
	}
	var starts sync.WaitGroup
	for _, id := range []string{"c.0/1", "c.1/1", "c.2/1", "c.3/1"} {
		starts.Go(func() {
			if _, err := c.Start(t.Context(), r.bounded(id)); err != nil {
				t.Error(err)
			}
		})
	}
	starts.Wait()
	if got := r.keepers(); !slices.Equal(got, []string{"keeper", "keeper-2"}) {
		t.Fatalf("keepers %v", got)
	}
	r.until("the task has its limit", func() bool { return r.output("c.0/1", logs.Options{}) == "50\n" })
	c.start("d.0/1", "/bin/sleep", "1000") // asks for nothing, and goes to the new one all the same
	for id, old := range map[string]bool{"a.0/1": true, "b.0/1": true, "c.0/1": false, "d.0/1": false} {
		if st, err := c.Stats(t.Context(), id); err != nil || st.OldKeeper != old {
			t.Errorf("%s: %+v, %v", id, st, err)
		}
	}

	c.leave() // another daemon finds all of them
	c = r.client()
	if got := c.states(); len(got) != 7 || slices.ContainsFunc(slices.Collect(maps.Values(got)), func(s keeper.State) bool { return s != keeper.Running }) {
		t.Fatalf("running %v", got)
	}
	for _, id := range []string{"a.0/1", "c.0/1"} {
		var out bytes.Buffer
		res, err := c.Exec(t.Context(), keeper.ExecRequest{ID: id, Spec: isolation.Spec{Program: program("/bin/sh", "-c", "echo here; exit 4")}, Stdout: &out})
		if err != nil || res.Code != 4 || out.String() != "here\n" {
			t.Errorf("a command beside %s: %+v, %v: %q", id, res, err, out.String())
		}
	}
	if err := c.Signal(t.Context(), "a.0/1", syscall.SIGUSR1); err != nil {
		t.Error(err)
	}
	if err := c.Kill(t.Context(), "b.0/1"); err != nil {
		t.Error(err)
	}
	if st := c.exit("a.0/1"); st.Code != 7 {
		t.Errorf("%+v", st)
	}
	c.exit("b.0/1")
	if got := r.output("a.0/1", logs.Options{Follow: true}); got != "old\n" {
		t.Errorf("the log is %q", got)
	}
	if err := c.Forget(t.Context(), "a.0/1", "b.0/1"); err != nil {
		t.Error(err)
	}
	r.until("the old keeper ends", func() bool { return slices.Equal(r.keepers(), []string{"keeper-2"}) })
	if got := c.states(); len(got) != 5 {
		t.Errorf("running %v", got)
	}
}

// Each keeper, as it starts after one that was killed, ends what that one left,
// and nothing of the keeper beside it.
func TestAKeeperLeavesTheTasksBesideItAlone(t *testing.T) {
	r, c := upgraded(t, nil)
	if _, err := c.Start(t.Context(), r.bounded("c.0/1")); err != nil {
		t.Fatal(err)
	}
	alive := func(id string) bool {
		_, err := c.Stats(t.Context(), id)
		return err == nil
	}
	r.killKeeper("keeper-2")
	r.until("the loss is known", func() bool { return c.states()["c.0/1"] == keeper.Lost })
	if !alive("a.0/1") {
		t.Fatal("the task of the old keeper was killed")
	}
	if err := c.Forget(t.Context(), "c.0/1"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Start(t.Context(), r.bounded("c.1/1")); err != nil {
		t.Fatal(err)
	}
	r.killKeeper("keeper")
	r.until("the loss is known", func() bool { return c.states()["a.0/1"] == keeper.Lost })
	if !alive("c.1/1") {
		t.Fatal("the task of the keeper beside was killed")
	}
	if err := c.Forget(t.Context(), "a.0/1"); err != nil {
		t.Fatal(err)
	}
	r.killKeeper("keeper")
	r.killKeeper("keeper-2")
	c.leave()
	c = r.client() // neither waits for the other
	if got := c.states(); got["c.1/1"] != keeper.Lost || len(got) != 1 {
		t.Errorf("%v", got)
	}
}

// While no daemon is there, whoever answers speaks for the tasks of both: an old
// keeper would say of the other's that they do not run here, and they would be
// started elsewhere.
func TestKeepersAnswerForEachOther(t *testing.T) {
	key, err := vouch.DeriveKey([]byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	port, asker := probes(t, key)
	r, c := upgraded(t, &keeper.Vouch{Node: "node-a", Boot: "this-boot", Addr: port, Key: key})
	ask := func() (vouch.Answer, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		return asker.Ask(ctx, port.String(), vouch.Probe{Node: "node-a", Attempts: []string{"a.0/1", "c.0/1", "x.0/1"}})
	}
	always := func(what string, fates ...vouch.Fate) {
		t.Helper()
		r.until(what, func() bool { a, err := ask(); return err == nil && slices.Equal(a.Fates, fates) })
		for range 20 {
			if a, err := ask(); err == nil && !slices.Equal(a.Fates, fates) {
				t.Fatalf("%s: %+v", what, a)
			}
		}
	}
	always("the old one for itself", vouch.Runs, vouch.Unknown, vouch.Unknown)
	if _, err := c.Start(t.Context(), r.bounded("c.0/1")); err != nil {
		t.Fatal(err)
	}
	always("the new one for both", vouch.Runs, vouch.Runs, vouch.Unknown)
	c.leave()
	always("without a daemon", vouch.Runs, vouch.Runs, vouch.Unknown)
	c = r.client()
	c.states()
	always("with the next daemon", vouch.Runs, vouch.Runs, vouch.Unknown)
	r.killKeeper("keeper")
	c.leave()
	r.until("silence, as nobody knows what still runs", func() bool { _, err := ask(); return err != nil })
}

// A keeper that is sent what it does not know refuses the start, whoever sends
// it: the daemon asks first, and this is for one that does not.
func TestAStartThatIsNotKnownWholeIsRefused(t *testing.T) {
	r := newRig(t)
	c := r.client()
	c.start("a.0/1", "/bin/sleep", "1000")
	sock, err := net.Dial("unix", filepath.Join(r.dir, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	send := func(m string) {
		t.Helper()
		if _, err := sock.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(m))), m...)); err != nil {
			t.Fatal(err)
		}
	}
	receive := func() string {
		t.Helper()
		b := make([]byte, 4)
		if _, err := io.ReadFull(sock, b); err != nil {
			t.Fatal(err)
		}
		b = make([]byte, binary.BigEndian.Uint32(b))
		if _, err := io.ReadFull(sock, b); err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	send(`{"op":"hello","hello":{"version":1,"minVersion":1,"pid":1}}`)
	if got := receive(); !strings.Contains(got, `"rlimits.hard"`) || !strings.Contains(got, `"beside"`) {
		t.Errorf("the hello says %s", got)
	}
	send(`{"op":"start","seq":1,"start":{"id":"b.0/1","slice":"default/b/0-a1","path":"/bin/true","args":["true"],"dir":"/","limits":{},"seccomp":"strict","logDir":"` + r.logDir("b.0/1") + `","logMax":1}}`)
	if got := receive(); !strings.Contains(got, `"kind":"lacks"`) || !strings.Contains(got, `seccomp`) {
		t.Errorf("the answer is %s", got)
	}
	if got := c.states(); len(got) != 1 {
		t.Errorf("it knows %v", got)
	}
}
