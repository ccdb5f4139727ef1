// Package doctor looks at what a node needs of its machine: the kernel, the disk of its
// data folder, its certificate. Each look ends within a few seconds, whatever hangs.
//
// It changes nothing but a file of its own in the data folder, which it removes. Package
// cluster adds what only a node that runs can know, and api/cli looks before there is one.
package doctor

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/mesita/mesita/api"
	"golang.org/x/sys/unix"
)

const (
	diskWait  = 3 * time.Second // a disk that takes longer hangs
	diskTries = 5
	slowSync  = 20 * time.Millisecond  // each write of the cluster waits for one of most voters
	badSync   = 500 * time.Millisecond // elections take not much longer

	lowSpace = 10 // percent

	soonEnds = 14 * 24 * time.Hour // a certificate is renewed long before
)

// OK, Warn and Fail make checks.
func OK(what, format string, args ...any) api.Check {
	return api.Check{What: what, State: api.CheckOK, Found: fmt.Sprintf(format, args...)}
}

// Warn is of what works, and may not for long.
func Warn(what, fix, format string, args ...any) api.Check {
	return api.Check{What: what, State: api.CheckWarn, Found: fmt.Sprintf(format, args...), Fix: fix}
}

// Fail is of what does not work.
func Fail(what, fix, format string, args ...any) api.Check {
	return api.Check{What: what, State: api.CheckFail, Found: fmt.Sprintf(format, args...), Fix: fix}
}

// Disk measures how long the disk of a folder takes to keep a write.
func Disk(ctx context.Context, dir string) api.Check {
	type answer struct {
		took time.Duration
		err  error
	}
	done := make(chan answer, 1)
	go func() { // a disk that hangs keeps it, and nothing else
		took, err := syncTime(dir)
		done <- answer{took, err}
	}()
	ctx, cancel := context.WithTimeout(ctx, diskWait)
	defer cancel()
	select {
	case <-ctx.Done():
		return Fail("disk", "look at the kernel's log (dmesg), or move the data folder",
			"did not keep %d small writes within %s in %s", diskTries, diskWait, dir)
	case a := <-done:
		return judgeDisk(dir, a.took, a.err)
	}
}

func judgeDisk(dir string, took time.Duration, err error) api.Check {
	text := fmt.Sprintf("a small write is kept after %.1f ms (%s)", float64(took)/float64(time.Millisecond), dir)
	switch {
	case errors.Is(err, unix.ENOSPC):
		return Fail("disk", "make room, or give another --data", "is full: %v", err)
	case err != nil:
		return Fail("disk", "mend the disk, or give another --data", "cannot be written: %v", err)
	case took >= badSync:
		return Fail("disk", "use a disk that keeps a write within 20 ms; until then start with --raft-multiplier 5", "%s", text)
	case took >= slowSync:
		return Warn("disk", "use a faster disk for the data folder of a voter", "%s", text)
	}
	return OK("disk", "%s", text)
}

// syncTime is the median of some tries.
func syncTime(dir string) (time.Duration, error) {
	f, err := os.CreateTemp(dir, ".doctor-")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name()) // at the latest: it is small
	defer f.Close()
	var all []time.Duration
	for range diskTries {
		begin := time.Now()
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		all = append(all, time.Since(begin))
	}
	slices.Sort(all)
	return all[len(all)/2], nil
}

// Space is what is free where a folder is.
func Space(dir string) api.Check {
	free, total, err := Room(dir)
	if err != nil {
		return Fail("space", "give another --data", "cannot be asked for: %v", err)
	}
	return judgeSpace(free, total)
}

// Room is how many bytes are free where a folder is, and how many there are.
func Room(dir string) (free, total int64, err error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, 0, err
	}
	return int64(fs.Bavail) * int64(fs.Bsize), int64(fs.Blocks) * int64(fs.Bsize), nil
}

func judgeSpace(free, total int64) api.Check {
	text := fmt.Sprintf("%s of %s are free", api.Bytes(free)&^(1<<20-1), api.Bytes(total)&^(1<<20-1))
	switch {
	case free < 64<<20:
		return Fail("space", "make room: a node that cannot write takes no part", "%s", text)
	case total > 0 && free*100/total < lowSpace:
		return Warn("space", "make room, or keep fewer logs", "%s", text)
	}
	return OK("space", "%s", text)
}

// Certificate is how long one is good for.
func Certificate(leaf *x509.Certificate, now time.Time) api.Check {
	left := leaf.NotAfter.Sub(now)
	until := leaf.NotAfter.Local().Format("2006-01-02")
	switch {
	case left <= 0:
		return Fail("certificate", "set the clock, and see mesita.log for why it was not renewed", "expired on %s", until)
	case left < soonEnds:
		return Warn("certificate", "see mesita.log for why it is not renewed", "is good until %s only, and should have been renewed", until)
	}
	return OK("certificate", "is good until %s", until)
}

// BootV2 is what to do where not all limits can be enforced.
const BootV2 = "boot with cgroup v2 (systemd.unified_cgroup_hierarchy=1)"

// Kernel is whether this machine can run tasks within limits.
func Kernel() api.Check {
	var u unix.Utsname
	release := "?"
	if unix.Uname(&u) == nil {
		release = unix.ByteSliceToString(u.Release[:])
	}
	var fs unix.Statfs_t
	const root = "/sys/fs/cgroup"
	switch _, err := os.Stat(filepath.Join(root, "memory")); {
	case os.Geteuid() != 0:
		return Fail("kernel", "start it with sudo", "a node has to be root to limit tasks")
	case unix.Statfs(root, &fs) == nil && int64(fs.Type) == unix.CGROUP2_SUPER_MAGIC:
		return OK("kernel", "%s with cgroup v2", release)
	case err == nil:
		return Warn("kernel", BootV2, "%s with cgroup v1: soft memory limits are not enforced", release)
	}
	return Fail("kernel", "mount cgroup v2 at "+root, "%s without cgroups at %s: tasks could not be limited", release, root)
}
