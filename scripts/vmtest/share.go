package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// writable lists the host directories that the guest shares for writing: what
// the caller names in VM_RW, the module (or directory) the test runs in, the
// program's own directory if the guest would hide it, and where `go test` has
// profiles put.
func writable(prog, cwd string, args []string) []string {
	dirs := append(filepath.SplitList(os.Getenv("VM_RW")), moduleRoot(cwd), os.Getenv("GOCOVERDIR"))
	for _, hidden := range []string{"/tmp/", "/var/tmp/", "/run/", "/dev/shm/"} { // tmpfs in the guest
		if strings.HasPrefix(prog, hidden) {
			dirs = append(dirs, filepath.Dir(prog))
		}
	}
	for _, a := range args {
		key, v, _ := strings.Cut(strings.TrimLeft(a, "-"), "=")
		if v == "" {
			continue
		}
		switch key {
		case "test.outputdir", "test.gocoverdir":
			dirs = append(dirs, v)
		case "test.coverprofile", "test.cpuprofile", "test.memprofile", "test.blockprofile",
			"test.mutexprofile", "test.trace", "test.testlogfile":
			dirs = append(dirs, filepath.Dir(v))
		}
	}
	var out []string
	for _, d := range dirs {
		if d == "" {
			continue
		}
		if d, err := filepath.Abs(d); err == nil && d != "/" && !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	return out
}

// moduleRoot is the directory of the go.mod that dir belongs to, or dir itself.
func moduleRoot(dir string) string {
	for d := dir; d != "/"; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
			return d
		}
	}
	return dir
}
