package cluster

import (
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/mesita/mesita/api"
	"golang.org/x/sys/unix"
)

// detectResources is what this machine has for tasks: all cores, memory and
// free disk but a reserve for the system.
func detectResources(dataDir string) api.Resources {
	ports, _ := api.ParseRanges(defaultPorts)
	r := api.Resources{CPUs: api.MilliCPU(runtime.NumCPU() * 1000), Ports: ports}
	if total := memTotal(); total > 0 {
		r.Mem = total - min(total/10, 1<<30)
	}
	var fs unix.Statfs_t
	if unix.Statfs(dataDir, &fs) == nil {
		total := int64(fs.Blocks) * int64(fs.Bsize)
		// Rounded, so that a restart does not look like a change of the machine.
		r.Disk = api.Bytes(total*9/10) &^ (1<<30 - 1)
	}
	return r
}

func memTotal() api.Bytes {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "MemTotal:" {
			kib, _ := strconv.ParseInt(f[1], 10, 64)
			return api.Bytes(kib << 10)
		}
	}
	return 0
}

// bootID changes with each boot of the machine.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// machineAttrs describes the machine to constraints.
func machineAttrs() map[string]string {
	attrs := map[string]string{"arch": runtime.GOARCH, "os": runtime.GOOS}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		attrs["kernel"] = unix.ByteSliceToString(u.Release[:])
	}
	return attrs
}
