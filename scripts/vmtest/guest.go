package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// guestMain is PID 1 of the VM.
func guestMain() {
	if err := guest(); err != nil {
		logf("%v", err)
	}
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	select {}
}

// logf writes to the kernel's log, so to the serial console.
func logf(format string, a ...any) {
	if f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0); err == nil {
		fmt.Fprintf(f, "<3>vmtest: "+format+"\n", a...)
		f.Close()
	}
}

// guest reaches the host, then runs its job; an error after that is told to the host.
func guest() error {
	if err := mountBase(); err != nil {
		return err
	}
	if err := loadModules(); err != nil {
		return err
	}
	ports, err := findPorts(portControl, portStdout, portStderr)
	if err != nil {
		return err
	}
	g := guestJob{ports: ports, enc: json.NewEncoder(ports[portControl]), dec: json.NewDecoder(ports[portControl])}
	if err := g.run(); err != nil {
		return errors.Join(err, g.enc.Encode(event{Error: err.Error()}))
	}
	return nil
}

type guestJob struct {
	job
	ports map[string]*os.File
	enc   *json.Encoder
	dec   *json.Decoder
}

func (g *guestJob) run() error {
	if err := g.dec.Decode(&g.job); err != nil {
		return fmt.Errorf("job: %w", err)
	}
	if err := enterRoot(g.job); err != nil {
		return err
	}
	if err := prepareSystem(); err != nil {
		return err
	}
	leaf, err := jobCgroup()
	if err != nil {
		return err
	}
	pid, err := g.start(leaf)
	if err != nil {
		return err
	}
	if err := g.enc.Encode(event{Started: true}); err != nil {
		return err
	}
	go func() {
		for {
			var e event
			if g.dec.Decode(&e) != nil {
				return
			}
			if e.Signal != 0 {
				unix.Kill(pid, unix.Signal(e.Signal))
			}
		}
	}()
	ended := make(chan struct{})
	var heart sync.WaitGroup
	heart.Go(func() { g.beat(ended) })
	code, err := reap(pid)
	close(ended)
	heart.Wait()
	if err != nil {
		return err
	}
	return g.enc.Encode(event{Exit: &code})
}

// beat tells the host that the guest is alive until ended is closed.
func (g *guestJob) beat(ended <-chan struct{}) {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			g.enc.Encode(event{Alive: true}) // what fails is missed by the host
		case <-ended:
			return
		}
	}
}

// start runs the job's program in the cgroup that leaf is open on.
func (g *guestJob) start(leaf *os.File) (int, error) {
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	stderr := g.ports[portStderr]
	if g.SameIO {
		stderr = g.ports[portStdout]
	}
	p, err := os.StartProcess(g.Args[0], g.Args, &os.ProcAttr{
		Dir:   g.Dir,
		Env:   append(g.Env, "MESITA_VM=1"),
		Files: []*os.File{null, g.ports[portStdout], stderr},
		Sys:   &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(leaf.Fd())},
	})
	if err != nil {
		return 0, err
	}
	return p.Pid, nil
}

// reap waits for every child, as PID 1 must, until pid ends, and returns its exit status.
func reap(pid int) (int, error) {
	for {
		var ws unix.WaitStatus
		ended, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, fmt.Errorf("wait: %w", err)
		case ended == pid && ws.Signaled():
			return 128 + int(ws.Signal()), nil
		case ended == pid:
			return ws.ExitStatus(), nil
		}
	}
}

// loadModules loads the initrd's modules in the order of their names.
func loadModules() error {
	mods, _ := filepath.Glob("/mods/*.ko")
	sort.Strings(mods)
	for _, m := range mods {
		f, err := os.Open(m)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && err != unix.EEXIST {
			return fmt.Errorf("%s: %w", m, err)
		}
	}
	return nil
}

// findPorts opens the virtio-serial ports by name; there is no udev to link them.
func findPorts(names ...string) (map[string]*os.File, error) {
	out := map[string]*os.File{}
	for range 500 {
		files, _ := filepath.Glob("/sys/class/virtio-ports/*/name")
		for _, f := range files {
			b, _ := os.ReadFile(f)
			n := strings.TrimSpace(string(b))
			if n == "" || out[n] != nil {
				continue
			}
			port, err := os.OpenFile("/dev/"+filepath.Base(filepath.Dir(f)), os.O_RDWR|syscall.O_CLOEXEC, 0)
			if err == nil {
				out[n] = port
			}
		}
		if len(out) >= len(names) {
			return out, nil
		}
		time.Sleep(2 * time.Millisecond)
	}
	return nil, fmt.Errorf("virtio ports %v: found %d", names, len(out))
}
