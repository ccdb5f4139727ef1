package program

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
)

func TestScripts(t *testing.T) {
	for text, want := range map[string]string{
		"#!/bin/sh\necho": "/bin/sh", "#! /usr/bin/env python3\n": "/usr/bin/env", "#!/bin/sh": "/bin/sh", "#!\t/bin/awk\t-f\n": "/bin/awk", "#!/bin/sh\r\necho\r\n": "/bin/sh\r",
	} {
		p, err := Look(strings.NewReader(text))
		if err != nil || !p.Script || p.Needs != want || p.Arch != "" || p.DOS() != strings.HasSuffix(want, "\r") {
			t.Errorf("%q: %+v, %v", text, p, err)
		}
	}
	for text, want := range map[string]error{"": ErrEmpty, "echo hello\n": ErrUnknown, "MZ\x90": ErrWindows, "\xcf\xfa\xed\xfe\x07\x00\x00\x01": ErrMacOS, "\xca\xfe\xba\xbe\x00\x00\x00\x02": ErrMacOS, "\xca\xfe\xba\xbe\x00\x00\x00\x41": ErrUnknown, "#!\n/bin/sh": ErrNoShell, "#! \t\n": ErrNoShell, "#!\r\n": ErrNoShell, "\x7fELF": ErrUnknown} {
		if p, err := Look(strings.NewReader(text)); !errors.Is(err, want) {
			t.Errorf("%q: %+v, %v", text, p, err)
		}
	}
}

// binaryOf is the beginning of a program of 64 or 32 bits with a loader.
func binaryOf(class elf.Class, order binary.ByteOrder, machine elf.Machine, loader string) []byte {
	l, data := bits32, elf.ELFDATA2LSB
	if class == elf.ELFCLASS64 {
		l = bits64
	}
	if order == binary.BigEndian {
		data = elf.ELFDATA2MSB
	}
	b := make([]byte, 512)
	put := func(at int, v uint64) {
		if l.word == 8 {
			order.PutUint64(b[at:], v)
		} else {
			order.PutUint32(b[at:], uint32(v))
		}
	}
	copy(b, elf.ELFMAG)
	b[elf.EI_CLASS], b[elf.EI_DATA] = byte(class), byte(data)
	order.PutUint16(b[machineAt:], uint16(machine))
	put(l.headersAt, 100)
	order.PutUint16(b[l.sizeAt:], 64)
	order.PutUint16(b[l.countAt:], 2)
	order.PutUint32(b[100:], uint32(elf.PT_LOAD))
	order.PutUint32(b[164:], uint32(elf.PT_INTERP))
	put(164+l.offsetAt, 400)
	put(164+l.lengthAt, uint64(len(loader)+1))
	copy(b[400:], loader)
	return b
}

func TestBinaries(t *testing.T) {
	for _, c := range []struct {
		class   elf.Class
		order   binary.ByteOrder
		machine elf.Machine
		arch    string
	}{
		{elf.ELFCLASS64, binary.LittleEndian, elf.EM_AARCH64, "arm64"}, {elf.ELFCLASS64, binary.BigEndian, elf.EM_S390, "s390x"}, {elf.ELFCLASS64, binary.BigEndian, elf.EM_PPC64, "ppc64"},
		{elf.ELFCLASS32, binary.LittleEndian, elf.EM_386, "386"}, {elf.ELFCLASS32, binary.BigEndian, elf.EM_MIPS, "mips"},
	} {
		b := binaryOf(c.class, c.order, c.machine, "/lib/ld-x.so")
		if p, err := Look(bytes.NewReader(b)); err != nil || p != (Program{Arch: c.arch, Needs: "/lib/ld-x.so"}) {
			t.Errorf("%s: %+v, %v", c.arch, p, err)
		}
	}
	whole := binaryOf(elf.ELFCLASS64, binary.LittleEndian, elf.EM_X86_64, "/lib/ld-x.so")
	for _, end := range []int{150, 210, 400, 412} { // in its headers, and before and in the name of its loader
		if p, err := Look(bytes.NewReader(whole[:end])); !errors.Is(err, ErrCut) {
			t.Errorf("cut off at %d: %+v, %v", end, p, err)
		}
	}
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if p, err := Look(f); err != nil || p.Arch != runtime.GOARCH || p.Script {
		t.Errorf("this test: %+v, %v", p, err)
	}
}

// Whatever a file holds, looking at it ends and takes little.
func FuzzLook(f *testing.F) {
	f.Add([]byte("#!/bin/sh -e\n"))
	f.Add(binaryOf(elf.ELFCLASS64, binary.LittleEndian, elf.EM_X86_64, "/lib64/ld.so"))
	f.Add(binaryOf(elf.ELFCLASS32, binary.BigEndian, elf.EM_MIPS, "/lib/ld.so"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Look(bytes.NewReader(b))
		if err == nil && p.Script == (p.Arch != "") || len(p.Needs) > maxPath {
			t.Errorf("%+v, %v", p, err)
		}
	})
}
