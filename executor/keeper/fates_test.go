package keeper

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mesita/mesita/executor/vouch"
)

// A keeper that waits for its disk answers for its tasks all the same: silence
// would have them started elsewhere.
func TestAKeeperWithAStuckLedgerAnswers(t *testing.T) {
	read, full, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer full.Close()
	if err := full.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := full.Write(make([]byte, 1<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the pipe takes a megabyte: %v", err)
	}
	if err := full.SetWriteDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	s := &server{cfg: Config{Dir: filepath.Join(t.TempDir(), "keeper"), Orphaned: time.Hour}, known: map[string]*task{}, log: slog.New(slog.DiscardHandler), slots: make(chan struct{}, 1), readers: make(chan struct{}, 1),
		ledger: &ledger{file: full, live: map[string]struct{}{}}}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "socket"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	sock, err := net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	names := []uint64{vouch.Name("a.0/1"), vouch.Name("a.1/1")}
	s.fates.set("a.1/1", vouch.Ended)
	s.start(newConn(sock), &message{Start: &StartRequest{ID: "a.0/1"}})
	s.mu.Lock()
	starting := s.known["a.0/1"]
	s.mu.Unlock()
	tell := func(names ...uint64) vouch.Answer {
		a, ok := s.answer(names)
		if !ok {
			t.Fatal("the keeper does not know what it holds")
		}
		return a
	}
	if a := tell(names...); a.Fates[0] != vouch.Runs || a.Fates[1] != vouch.Ended || a.Ended != 1 {
		t.Errorf("while the ledger is stuck the keeper says %+v", a)
	}
	select {
	case <-starting.ready:
		t.Error("the start did not wait for the ledger: the test shows nothing")
	default:
	}
	read.Close()
	s.tasks.Wait()
	if a := tell(names...); a.Running != 0 || a.Fates[0] != vouch.Unknown {
		t.Errorf("of a start that could not be noted the keeper says %+v", a)
	}
}

// hungLog is a log on a disk that hangs.
type hungLog struct{ slog.Handler }

func (hungLog) Handle(context.Context, slog.Record) error { select {} }

// A daemon that comes waits until what the one before it asked is in hand, and so
// for no log, though there is nobody left to be answered.
func TestNoRequestWaitsForTheLog(t *testing.T) {
	s := inProcess(t, filepath.Join(t.TempDir(), "keeper"))
	s.log = slog.New(hungLog{slog.NewTextHandler(io.Discard, nil)})
	sock, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: filepath.Join(s.cfg.Dir, socketFile), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	c := newConn(sock)
	c.fail(net.ErrClosed)
	s.known["a.0/1"] = pastTask(Status{ID: "a.0/1", State: Ended})
	for _, m := range []*message{{Op: opList}, {Op: opForget, IDs: []string{"a.0/1"}}, {Op: opSignal, ID: "a.0/1", Signal: 15}, {Op: opKill, ID: "x"}, {Op: opStats, ID: "x"}} {
		s.handle(c, m)
	}
}
