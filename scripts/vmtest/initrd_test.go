package main

import (
	"bufio"
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestLoadOrder(t *testing.T) {
	const dep = `kernel/drivers/virtio/virtio.ko:
kernel/drivers/virtio/virtio_ring.ko: kernel/drivers/virtio/virtio.ko
kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio_pci_modern.ko kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/virtio/virtio_pci_modern.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/fs/fuse/fuse.ko:
kernel/fs/fuse/virtiofs.ko: kernel/fs/fuse/fuse.ko kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko
`
	var got []string
	for _, f := range loadOrder(dep, []string{"virtio_pci", "built_in", "virtiofs"}) {
		got = append(got, f[strings.LastIndex(f, "/")+1:])
	}
	want := []string{"virtio.ko", "virtio_ring.ko", "virtio_pci_modern.ko", "virtio_pci.ko", "fuse.ko", "virtiofs.ko"}
	if !slices.Equal(got, want) {
		t.Errorf("loadOrder = %v, want %v", got, want)
	}
}

func TestCpioIsAligned(t *testing.T) {
	var b bytes.Buffer
	c := cpio{w: bufio.NewWriter(&b)}
	c.add("mods", 0o040755, nil)
	c.add("init", 0o100755, []byte("12345"))
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	if b.Len()%4 != 0 {
		t.Errorf("archive of %d bytes", b.Len())
	}
	for off, rest := 0, b.String(); ; { // every header at a multiple of 4
		i := strings.Index(rest, "070701")
		if i < 0 {
			break
		}
		if (off+i)%4 != 0 {
			t.Errorf("header at %d", off+i)
		}
		off, rest = off+i+6, rest[i+6:]
	}
	for _, want := range []string{"init\x00", "12345\x00\x00\x00", "TRAILER!!!\x00"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in the archive", want)
		}
	}
}
