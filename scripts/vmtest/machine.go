package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// machine is a running VM: virtiofsd, QEMU, and the sockets QEMU connects to.
type machine struct {
	fs, qemu  *process
	console   string
	listeners map[string]net.Listener
}

// process is a child that dies with us. out may be read once done is closed.
type process struct {
	cmd  *exec.Cmd
	out  bytes.Buffer
	done chan struct{}
}

func start(name string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(name, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w; run scripts/vm-setup", err)
	}
	go func() {
		p.cmd.Wait() // how it ended does not matter: it was killed, or its output tells
		close(p.done)
	}()
	return p, nil
}

func (p *process) kill() { p.cmd.Process.Kill() }

// startMachine boots a VM whose files are in dir.
func startMachine(dir, kernel string) (_ *machine, err error) {
	m := &machine{console: getenv("VM_CONSOLE", filepath.Join(dir, "console.log")), listeners: map[string]net.Listener{}}
	defer func() {
		if err != nil {
			m.stop()
		}
	}()
	if err := buildInitrd(filepath.Join(dir, "initrd"), kernel); err != nil {
		return nil, fmt.Errorf("initrd: %w; run scripts/vm-setup", err)
	}
	args, err := qemuArgs(dir, kernel, m.console)
	if err != nil {
		return nil, err
	}
	for _, n := range []string{portControl, portStdout, portStderr} {
		if m.listeners[n], err = net.Listen("unix", filepath.Join(dir, n+".sock")); err != nil {
			return nil, err
		}
	}
	socket := filepath.Join(dir, "fs.sock")
	if m.fs, err = start(getenv("VM_VIRTIOFSD", "/usr/lib/qemu/virtiofsd"), virtiofsdArgs(socket)...); err != nil {
		return nil, err
	}
	if err := m.fs.waitFile(socket, time.Minute); err != nil {
		return nil, err
	}
	if m.qemu, err = start(getenv("VM_QEMU", "qemu-system-x86_64"), args...); err != nil {
		return nil, err
	}
	go func() { // a QEMU that does not come up must not leave us in Accept
		<-m.qemu.done
		for _, l := range m.listeners {
			l.Close()
		}
	}()
	return m, nil
}

// waitFile waits until p has made the file.
func (p *process) waitFile(file string, limit time.Duration) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(limit)
	for {
		if _, err := os.Stat(file); err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.done:
			return fmt.Errorf("%s ended: %s", p.cmd.Path, p.out.String())
		case <-deadline:
			return fmt.Errorf("%s made no %s in %s", p.cmd.Path, file, limit)
		}
	}
}

// connect waits for QEMU to open the port.
func (m *machine) connect(port string) (net.Conn, error) {
	c, err := m.listeners[port].Accept()
	if err != nil {
		<-m.qemu.done
		return nil, fmt.Errorf("qemu ended: %s", m.qemu.out.String())
	}
	return c, nil
}

// stop kills what still runs and waits for it. It may be called again.
func (m *machine) stop() {
	for _, p := range []*process{m.qemu, m.fs} {
		if p != nil {
			p.kill()
			<-p.done
		}
	}
	for _, l := range m.listeners {
		if l != nil {
			l.Close()
		}
	}
}

// logs is what the stopped machine left to explain itself.
func (m *machine) logs() string {
	console, _ := os.ReadFile(m.console)
	if len(console) > consoleTail {
		console = console[len(console)-consoleTail:]
	}
	return m.qemu.out.String() + m.fs.out.String() + string(console)
}
