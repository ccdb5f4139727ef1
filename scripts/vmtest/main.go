// Command vmtest runs a program in a throw-away VM whose kernel has a pure
// cgroup v2 hierarchy, while its userland is the host's root file system
// (virtiofs, under a tmpfs overlay: what the program writes is forgotten, but
// for the module it tests and go test's own outputs).
//
// It owns the virtual machine: QEMU, virtiofsd, the initrd, PID 1 of the guest,
// and the way of output, signals and the exit status. The same static binary is
// the host's tool and the guest's PID 1. It does not own what makes a VM
// possible (packages, the kernel, the cache: scripts/vm-setup) nor the verdict
// on a test run (scripts/test-vm). Its callers are scripts/vm-run, so
// `go test -exec`, and scripts/vm-setup, for `vmtest unpack`.
package main

import (
	"fmt"
	"os"
)

// exitHarness tells trouble of the VM from an exit status of the program.
const exitHarness = 125

const usage = "usage: vmtest exec PROGRAM [ARG...] | vmtest unpack VMLINUZ VMLINUX"

func main() {
	switch {
	case os.Getpid() == 1:
		guestMain() // never returns
	case len(os.Args) >= 3 && os.Args[1] == "exec":
		code, err := hostExec(os.Args[2:])
		if err != nil {
			fmt.Fprintln(os.Stderr, "vmtest:", err)
			code = exitHarness
		}
		os.Exit(code)
	case len(os.Args) == 4 && os.Args[1] == "unpack":
		if err := unpackKernel(os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, "vmtest:", err)
			os.Exit(1)
		}
	default:
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
}
