package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// diskSize is what a node's disk holds.
const diskSize = "192m"

// ext4Shutdown makes an ext4 fail all that comes, without writing what was not
// synced: EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH.
const (
	ext4Shutdown = 0x8004587d
	noLogFlush   = 2
)

// FIFREEZE and FITHAW of linux/fs.h.
const (
	fsFreeze = 0xc0045877
	fsThaw   = 0xc0045878
)

// Disk is a node's own file system: an ext4 in a file in memory. It can be
// full, read-only or dead, and a power cut loses what was not synced.
type Disk struct {
	node  *Node
	image string
}

// NewDisk makes the node's data folder a disk of its own.
func NewDisk(n *Node, images string) (*Disk, error) {
	d := &Disk{n, filepath.Join(images, n.Name+".img")}
	if err := os.MkdirAll(n.Dir, 0o755); err != nil {
		return nil, err
	}
	return d, errors.Join(d.format(), d.mount())
}

func (d *Disk) format() error {
	return errors.Join(run("truncate", "-s", "0", d.image), run("truncate", "-s", diskSize, d.image), run("mkfs.ext4", "-q", "-F", "-m", "0", d.image))
}

func (d *Disk) mount() error {
	if err := run("mount", "-o", "loop", d.image, d.node.Dir); err != nil {
		return err
	}
	return os.Chmod(d.node.Dir, 0o711)
}

// Die makes everything on the disk fail with EIO from now on.
func (d *Disk) Die() error {
	f, err := os.Open(d.node.Dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.IoctlSetPointerInt(int(f.Fd()), ext4Shutdown, noLogFlush), f.Close())
}

// ReadOnly is what the kernel does to a disk that reports errors.
func (d *Disk) ReadOnly() error { return run("mount", "-o", "remount,rw,abort", d.node.Dir) }

// Hang has everything that writes to the disk wait until Answer, whoever does:
// it cannot be killed meanwhile.
func (d *Disk) Hang() error { return d.control(fsFreeze) }

// Answer ends what Hang began.
func (d *Disk) Answer() error { return d.control(fsThaw) }

func (d *Disk) control(request uint) error {
	f, err := os.Open(d.node.Dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.IoctlSetInt(int(f.Fd()), request, 0), f.Close())
}

// PowerCut ends all on the node; what was not synced is lost. The disk is
// mounted again afterwards.
func (d *Disk) PowerCut() error {
	d.node.PowerOff()
	_ = d.Die() // it may be dead already
	if err := d.unmount(); err != nil {
		return err
	}
	return d.mount()
}

// unmount waits until nothing holds the file system any more: a task's own
// mount namespace may, for a moment after it was killed.
func (d *Disk) unmount() error {
	mounted := true
	if !Until(Patience, func() bool {
		mounted = mounted && syscall.Unmount(d.node.Dir, 0) != nil
		loops, err := exec.Command("losetup", "--noheadings", "--associated", d.image).Output()
		return !mounted && err == nil && len(loops) == 0
	}) {
		return fmt.Errorf("the disk of %s is still in use after a power cut: %v", d.node.Name, d.node.Left())
	}
	return nil
}

// Sync writes everything to the disk: what a test changed on it survives a power
// cut.
func (d *Disk) Sync() error { return run("sync", "--file-system", d.node.Dir) }

// Renew makes the disk empty.
func (d *Disk) Renew() error {
	d.node.PowerOff()
	if err := d.unmount(); err != nil {
		return err
	}
	return errors.Join(d.format(), d.mount())
}

// Fill leaves no block free.
func (d *Disk) Fill() error {
	f, err := os.Create(d.Ballast())
	if err != nil {
		return err
	}
	defer f.Close()
	for _, size := range []int{1 << 20, 4 << 10, 512} {
		for block := make([]byte, size); err == nil; {
			_, err = f.Write(block)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			return err
		}
		err = nil
	}
	return nil
}

// Ballast is the file that Fill writes.
func (d *Disk) Ballast() string { return filepath.Join(d.node.Dir, "ballast") }

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w: %s", name, args, err, out)
	}
	return nil
}
