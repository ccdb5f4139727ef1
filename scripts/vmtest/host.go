package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// bootLimit is how long the guest may take to start the program (2–5 s on a
	// loaded machine). The program itself has no limit here: go test has one.
	bootLimit = 2 * time.Minute
	// heartbeat is how often the guest says that it is alive, silenceLimit how
	// long it may say nothing. An emulated machine can stop for ever, rarely,
	// and takes the program's own timeout with it.
	heartbeat    = time.Second
	silenceLimit = time.Minute
	// powerOffLimit is how long the guest may take to power itself off.
	powerOffLimit = 10 * time.Second
	// consoleTail is how much of the guest's console is shown when it failed, in bytes.
	consoleTail = 8 << 10
)

// hostExec runs args in a new VM and returns the program's exit status, 128+N
// if signal N ended it. An error is trouble with the VM.
func hostExec(args []string) (int, error) {
	runtime.LockOSThread() // Pdeathsig is bound to the thread that forks
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP)
	j, err := newJob(args)
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("/tmp", "mesita-vm-") // short: socket paths have 107 bytes
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	m, err := startMachine(dir, j.Kernel)
	if err != nil {
		return 0, err
	}
	defer m.stop()
	return m.run(j, signals)
}

// newJob describes args as a program to run here, in this directory and environment.
func newJob(args []string) (job, error) {
	prog, err := exec.LookPath(args[0])
	if err != nil {
		return job{}, err
	}
	if prog, err = filepath.Abs(prog); err != nil {
		return job{}, err
	}
	cwd, err := os.Getwd()
	if err != nil {
		return job{}, err
	}
	kernel, err := filepath.Abs(filepath.Join(cacheDir(), "kernel"))
	if err != nil {
		return job{}, err
	}
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "TMPDIR=") { // the guest's /tmp is another one
			env = append(env, v)
		}
	}
	so, _ := os.Stdout.Stat()
	se, _ := os.Stderr.Stat()
	return job{
		Args:   append([]string{prog}, args[1:]...),
		Env:    env,
		Dir:    cwd,
		Kernel: kernel,
		Rw:     writable(prog, cwd, args[1:]),
		SameIO: so != nil && se != nil && os.SameFile(so, se),
	}, nil
}

// run hands j to the guest, passes output, signals and the exit status on, and
// returns when the VM is gone.
func (m *machine) run(j job, signals <-chan os.Signal) (int, error) {
	limit := time.AfterFunc(bootLimit, m.qemu.kill)
	defer limit.Stop()
	var copies sync.WaitGroup
	for name, w := range map[string]io.Writer{portStdout: os.Stdout, portStderr: os.Stderr} {
		c, err := m.connect(name)
		if err != nil {
			return 0, err
		}
		copies.Go(func() { io.Copy(w, c) })
	}
	ctl, err := m.connect(portControl)
	if err != nil {
		return 0, err
	}
	enc := json.NewEncoder(ctl)
	if err := enc.Encode(j); err != nil {
		return 0, fmt.Errorf("send the job: %w", err)
	}
	last, failure := listen(json.NewDecoder(ctl), limit, func() { go forward(signals, enc) })
	select { // the guest powers itself off, which flushes the ports
	case <-m.qemu.done:
	case <-time.After(powerOffLimit):
	}
	m.stop()
	copies.Wait()
	if last.Exit != nil {
		return *last.Exit, nil
	}
	return 0, fmt.Errorf("%s\n%s", failure, m.logs())
}

// listen reads the guest's events until the last one or until the VM is gone,
// and says what is wrong when the last has no exit status. It calls started
// once. limit, which ends the VM, is put off by each event.
func listen(events *json.Decoder, limit *time.Timer, started func()) (last event, failure string) {
	failure = fmt.Sprintf("the guest did not start the program (it has %s)", bootLimit)
	for {
		var e event
		if events.Decode(&e) != nil {
			return e, failure
		}
		if e.Exit != nil || e.Error != "" {
			limit.Stop()
			return e, "in the guest: " + e.Error
		}
		if e.Started {
			failure = fmt.Sprintf("the guest ended before the program did, or said nothing for %s", silenceLimit)
			started()
		}
		limit.Reset(silenceLimit)
	}
}

// forward ends with the process: nobody closes signals.
func forward(signals <-chan os.Signal, enc *json.Encoder) {
	for s := range signals {
		if n, ok := s.(syscall.Signal); ok {
			enc.Encode(event{Signal: int(n)}) // fails only when the VM is gone
		}
	}
}
