package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// bootModules lists what the guest needs before the host's root is mounted;
// everything else is loaded on demand by modprobe from /lib/modules.
func bootModules() []string {
	return []string{"virtio_pci", "virtio_console", "virtio_blk", "virtiofs", "overlay"}
}

// buildInitrd writes this binary as /init and the boot modules, named in load order.
func buildInitrd(dst, kernel string) error {
	version, err := os.ReadFile(filepath.Join(kernel, "version"))
	if err != nil {
		return err
	}
	root := filepath.Join(kernel, "lib/modules", strings.TrimSpace(string(version)))
	dep, err := os.ReadFile(filepath.Join(root, "modules.dep"))
	if err != nil {
		return err
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	f, err := os.Create(dst)
	if err != nil {
		return err
	}
	defer f.Close()
	c := cpio{w: bufio.NewWriterSize(f, 1<<20)}
	c.add("mods", 0o040755, nil)
	for i, m := range loadOrder(string(dep), bootModules()) {
		b, err := os.ReadFile(filepath.Join(root, m))
		if err != nil {
			return err
		}
		c.add(fmt.Sprintf("mods/%02d-%s", i, filepath.Base(m)), 0o100644, b)
	}
	for _, d := range []string{"dev", "proc", "sys", "host", "rw", "root"} {
		c.add(d, 0o040755, nil)
	}
	c.add("init", 0o100755, self)
	return c.close()
}

// cpio writes the "newc" format. An error of w is kept by w until close.
type cpio struct {
	w     *bufio.Writer
	inode int
}

func (c *cpio) add(name string, mode uint32, data []byte) {
	c.inode++
	head := []int{c.inode, int(mode), 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0}
	c.w.WriteString("070701")
	for _, v := range head {
		fmt.Fprintf(c.w, "%08x", v)
	}
	c.w.WriteString(name + "\x00")
	c.pad(6 + 8*len(head) + len(name) + 1)
	c.w.Write(data)
	c.pad(len(data))
}

func (c *cpio) pad(n int) { c.w.WriteString("\x00\x00\x00"[:(4-n%4)%4]) }

func (c *cpio) close() error {
	c.add("TRAILER!!!", 0, nil)
	return c.w.Flush()
}

// loadOrder returns the files of the named modules and of all they depend on,
// each after its dependencies. dep is depmod's modules.dep; a name that is not
// in it is built into the kernel.
func loadOrder(dep string, names []string) []string {
	deps, file := map[string][]string{}, map[string]string{}
	for l := range strings.Lines(dep) {
		f, needs, ok := strings.Cut(l, ":")
		if !ok {
			continue
		}
		deps[f] = strings.Fields(needs)
		file[strings.TrimSuffix(filepath.Base(f), ".ko")] = f
	}
	var out []string
	seen := map[string]bool{}
	var visit func(string)
	visit = func(f string) {
		if seen[f] {
			return
		}
		seen[f] = true
		for _, d := range deps[f] {
			visit(d)
		}
		out = append(out, f)
	}
	for _, n := range names {
		if f, ok := file[n]; ok {
			visit(f)
		}
	}
	return out
}
