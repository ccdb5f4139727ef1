package keeper

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// diskFull is before the text of an error that is for want of room on the disk.
const diskFull = "disk full: "

func fullMark(err error) string {
	if errors.Is(err, ErrDiskFull) {
		return diskFull
	}
	return ""
}

const (
	spawnTime = 15 * time.Second
	maxOutput = 1 << 20 // of the keeper's own log, checked when one is started
)

// spawn starts a keeper in a session of its own and waits until it can be
// reached. When another one has the folder, that is as good.
func spawn(ctx context.Context, cfg ClientConfig) error {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("make the keeper's folder: %w", err)
	}
	output := filepath.Join(cfg.Dir, outputFile)
	if fi, err := os.Stat(output); err == nil && fi.Size() > maxOutput {
		if err := os.Rename(output, output+".old"); err != nil {
			return fmt.Errorf("rotate the keeper's log: %w", err)
		}
	}
	log, err := os.OpenFile(output, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open the keeper's log: %w", err)
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command(cfg.Argv[0], append(cfg.Argv[1:len(cfg.Argv):len(cfg.Argv)], "--dir", cfg.Dir)...) //nolint:noctx // it outlives us
	cmd.Stdout, cmd.Stderr = w, log
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return fmt.Errorf("start the keeper: %w", err)
	}
	// Nobody waits for this goroutine, since a keeper outlives the daemon. It
	// only collects the keeper's exit if the daemon is still there.
	go func() {
		if err := cmd.Wait(); err != nil {
			cfg.Log.Warn("the keeper ended", "error", err)
		}
	}()
	if err := r.SetReadDeadline(time.Now().Add(spawnTime)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = r.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	line, err := bufio.NewReader(r).ReadString('\n')
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if why, ok := strings.CutPrefix(line, "error "); ok {
		why, full := strings.CutPrefix(strings.TrimSpace(why), diskFull)
		if full {
			return &remoteError{why, ErrDiskFull}
		}
		return errors.New(why)
	}
	if line != "ready\n" {
		return fmt.Errorf("the keeper did not start (%w): see %s", err, output)
	}
	return nil
}
