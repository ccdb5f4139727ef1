package keeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/executor/clock"
	"github.com/mesita/mesita/isolation"
)

// Config is what a keeper process needs.
type Config struct {
	Dir       string // its own folder; one keeper at a time
	Isolation isolation.Config
	Log       *slog.Logger
	Ready     io.WriteCloser // told "ready" once the keeper can be reached; default the standard output, for Client

	// With no task left the keeper ends: after Orphaned (default 30 s) when no
	// daemon is connected, after Idle (default 5 min) when one is.
	Orphaned, Idle time.Duration
	// Ends that no daemon has taken note of are kept at hand for so long
	// (default 24 h); after that they are in the ledger only.
	Unclaimed time.Duration
}

// The files in the keeper's folder.
const (
	lockFile   = "lock"
	pidFile    = "pid" // there while the keeper lives, and after it died by force
	socketFile = "sock"
	ledgerFile = "ledger"
	outputFile = "keeper.log"
)

// Main is the keeper process. It returns nil when there was nothing left to
// do, or another keeper has the folder. It ends with ctx only when no task runs.
func Main(ctx context.Context, cfg Config) (err error) {
	if cfg.Ready == nil {
		cfg.Ready = os.Stdout
	}
	if cfg.Orphaned == 0 {
		cfg.Orphaned = 30 * time.Second
	}
	if cfg.Idle == 0 {
		cfg.Idle = 5 * time.Minute
	}
	if cfg.Unclaimed == 0 {
		cfg.Unclaimed = 24 * time.Hour
	}
	defer func() {
		if err != nil {
			fmt.Fprintf(cfg.Ready, "error %s%v\n", fullMark(err), err) // nobody may be there to read it: it is in the log as well
			cfg.Ready.Close()
		}
	}()
	// What a keeper holds is small, and while it starts tasks by the hundred the
	// processor is what it lacks.
	debug.SetGCPercent(200)
	// Tasks inherit from the keeper what it has from the daemon.
	if err := clock.SetSlack(clock.UsualSlack); err != nil {
		cfg.Log.Debug("tasks keep the slack of the daemon's timers", "err", err)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return fullDisk(fmt.Errorf("make the keeper's folder: %w", err))
	}
	lock, err := os.OpenFile(filepath.Join(cfg.Dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fullDisk(fmt.Errorf("open the keeper's lock: %w", err))
	}
	defer lock.Close()
	ours, err := acquire(ctx, lock, cfg.Dir)
	if err != nil {
		return err
	}
	if !ours {
		fmt.Fprintln(cfg.Ready, "ready")
		return nil
	}
	return serve(ctx, cfg)
}

// acquire takes the lock on the folder. It is false when another keeper has it
// and can be reached; one that is ending is waited for.
func acquire(ctx context.Context, lock *os.File, dir string) (bool, error) {
	for end := time.Now().Add(spawnTime); ; {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return false, fmt.Errorf("lock the keeper's folder: %w", err)
		}
		path, done, err := socketPath(dir)
		if err != nil {
			return false, err
		}
		sock, err := net.Dial("unix", path)
		done()
		if err == nil {
			return false, sock.Close()
		}
		if time.Now().After(end) {
			return false, fmt.Errorf("another keeper has the folder %s, does not answer, and does not end: see %s there, and kill the process named in %s", dir, outputFile, pidFile)
		}
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// serve runs the server in a folder that is ours.
func serve(ctx context.Context, cfg Config) error {
	pid := filepath.Join(cfg.Dir, pidFile)
	if err := os.WriteFile(pid, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		return fullDisk(fmt.Errorf("write the keeper's pid: %w", err))
	}
	host, err := isolation.Detect(cfg.Isolation)
	if err != nil {
		return fmt.Errorf("find out what this machine can isolate: %w", err)
	}
	if err := host.Spare(isolation.KeeperScore); err != nil {
		cfg.Log.Info("the kernel may kill this process, and all tasks with it, when memory runs out", "err", err)
	}
	// The first processes of tasks stay in the keeper's group.
	if group, err := host.LeaveUnit(os.Getpid()); err != nil {
		cfg.Log.Warn("the keeper stays in the unit that it was started in: the service manager may take it, and the first processes of tasks, for left over", "err", err)
	} else if group != "" {
		cfg.Log.Info("the keeper left the unit that it was started in", "group", group)
	}
	s, err := newServer(cfg, host)
	if err != nil {
		return err
	}
	defer s.ledger.close()
	defer s.beside.close()
	// The earlier keeper may have died as it was cleaning up.
	if err := s.sweep(ctx); err != nil {
		return err
	}
	path, done, err := socketPath(cfg.Dir)
	if err != nil {
		return err
	}
	defer done()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the old socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return fullDisk(fmt.Errorf("listen on the keeper's socket: %w", err))
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return fmt.Errorf("protect the keeper's socket: %w", err)
	}
	if err := s.learnDenied(); err != nil { // what is denied from now on is told to this one, too
		return err
	}
	fmt.Fprintln(cfg.Ready, "ready")
	if err := cfg.Ready.Close(); err != nil {
		return fmt.Errorf("tell that the keeper is ready: %w", err)
	}
	if err := s.run(ctx, l); err != nil {
		return err
	}
	return os.Remove(pid)
}

// socketPath is the socket in dir by a path short enough for a socket's
// address. done releases it.
func socketPath(dir string) (path string, done func(), err error) {
	path = filepath.Join(dir, socketFile)
	if len(path) < 100 {
		return path, func() {}, nil
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", fd, socketFile), func() { unix.Close(fd) }, nil
}
