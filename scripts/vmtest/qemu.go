package main

import (
	"os"
	"os/exec"
	"path/filepath"
)

// kernelArgs is the guest kernel's command line. cgroup_no_v1 is what the VM is
// for: v1 has no controller but the one for devices, which v2 lacks; the other CPUs are started by the guest (see keepQuota), without patching
// the kernel for it; the rest shortens the boot under emulation.
const kernelArgs = "console=ttyS0 quiet panic=-1 reboot=t cgroup_no_v1=cpuset,cpu,cpuacct,blkio,memory,freezer,net_cls,net_prio,perf_event,hugetlb,pids,rdma,misc maxcpus=1 noreplace-smp nokaslr mitigations=off tsc=reliable " +
	"no_timer_check cryptomgr.notests random.trust_cpu=on init_on_alloc=0 audit=0 rdinit=/init "

func getenv(k, def string) string {
	if v := os.Getenv(k); v != "" {
		return v
	}
	return def
}

// cacheDir is what scripts/vm-setup fills.
func cacheDir() string {
	if d := os.Getenv("VM_CACHE"); d != "" {
		return d
	}
	d, err := os.UserCacheDir()
	if err != nil {
		d = "/var/cache"
	}
	return filepath.Join(d, "mesita-vm")
}

// virtiofsdArgs shares the host's root. cache=always: otherwise every open
// drops the guest's page cache, and emulation then translates all code anew.
// rlimit-nofile=0: raising the limit needs a capability we may not have.
func virtiofsdArgs(socket string) []string {
	return []string{"--socket-path=" + socket,
		"-o", "source=/,cache=always,sandbox=chroot,xattr,no_posix_lock", "-o", "log_level=err",
		"--rlimit-nofile=0", "--thread-pool-size=0"}
}

// qemuArgs is the machine whose files and sockets are in dir. It makes the scratch disk.
func qemuArgs(dir, kernel, console string) ([]string, error) {
	mem := getenv("VM_MEM", "2G")
	// rdrand: without it getrandom blocks for seconds in the guest.
	accel, cpu := "tcg,thread=multi", "Nehalem,+rdrand,+rdseed"
	if realKVM() {
		accel, cpu = "kvm", "host"
	}
	args := []string{
		"-M", "q35,memory-backend=mem", "-accel", getenv("VM_ACCEL", accel),
		"-cpu", getenv("VM_CPU", cpu), "-smp", getenv("VM_CPUS", "2"), "-m", mem,
		"-object", "memory-backend-memfd,id=mem,share=on,size=" + mem,
		"-nodefaults", "-no-user-config", "-nographic", "-no-reboot",
		"-kernel", filepath.Join(kernel, "vmlinux"), "-initrd", filepath.Join(dir, "initrd"),
		"-append", kernelArgs + os.Getenv("VM_APPEND"),
		"-serial", "file:" + console,
		"-chardev", "socket,id=fs,path=" + dir + "/fs.sock", "-device", "vhost-user-fs-pci,chardev=fs,tag=root",
		"-device", "virtio-serial-pci",
	}
	for _, n := range []string{portControl, portStdout, portStderr} {
		args = append(args, "-chardev", "socket,id="+n+",path="+dir+"/"+n+".sock",
			"-device", "virtserialport,chardev="+n+",name="+n)
	}
	size := getenv("VM_DISK", "512M")
	if size == "0" {
		return args, nil
	}
	img := filepath.Join(dir, "disk.img") // /dev/vda in the guest: io controller, file system quotas
	if err := exec.Command("truncate", "-s", size, img).Run(); err != nil {
		return nil, err
	}
	return append(args, "-drive", "if=none,id=d0,format=raw,cache=unsafe,file="+img,
		"-device", "virtio-blk-pci,drive=d0,serial=scratch"), nil
}

// realKVM tells hardware KVM from one that opens but cannot run an ordinary
// guest (KVM_PVM: the guest hangs right after the boot loader, without an error).
func realKVM() bool {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	f.Close()
	for _, m := range []string{"kvm_intel", "kvm_amd"} {
		if _, err := os.Stat("/sys/module/" + m); err == nil {
			return true
		}
	}
	return false
}
