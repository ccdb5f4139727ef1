// Package program tells by the beginning of a file what it is as a program: for
// which machine it was built, and what has to be there to run it. It owns no
// file and runs nothing. The command line looks before it uploads, a node when
// a program could not be executed.
package program

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
)

// Program is what a file says of itself.
type Program struct {
	Arch   string // the machine it is built for, as Go names it; "" = any
	Script bool
	Needs  string // the interpreter of a script, or the loader of a binary; "" = none
}

// What is not a program. The texts go after the program's name.
var (
	ErrEmpty   = errors.New("is an empty file")
	ErrUnknown = errors.New("is neither a binary for Linux nor a script: the first line of a script names its interpreter, such as #!/bin/sh")
	ErrMacOS   = errors.New("is a program for macOS, and nodes run Linux: build it for that (with Go: GOOS=linux)")
	ErrWindows = errors.New("is a program for Windows, and nodes run Linux: build it for that (with Go: GOOS=linux)")
	ErrCut     = errors.New("is cut off: its end is missing; copy it once more")
	ErrNoShell = errors.New("names no interpreter after #! in its first line: write #!/bin/sh, or what it is written for")
)

// lineMax is what the kernel reads of a file (BINPRM_BUF_SIZE): a longer first
// line is cut off there.
const lineMax = 256

// Look reads the beginning of a program.
func Look(r io.ReaderAt) (Program, error) {
	head := make([]byte, lineMax)
	n, err := r.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return Program{}, fmt.Errorf("read its beginning: %w", err)
	}
	head = head[:n]
	switch {
	case n == 0:
		return Program{}, ErrEmpty
	case bytes.HasPrefix(head, []byte("#!")):
		return script(head[2:])
	case bytes.HasPrefix(head, []byte(elf.ELFMAG)):
		return binaryFile(r, head)
	case isMacho(head):
		return Program{}, ErrMacOS
	case bytes.HasPrefix(head, []byte("MZ")):
		return Program{}, ErrWindows
	}
	return Program{}, ErrUnknown
}

// mostMachines is how many machines a Mach-O file may be for; a class of Java, which
// begins alike, has the version 45 or more there.
const mostMachines = 20

func isMacho(head []byte) bool {
	if len(head) < 8 {
		return false
	}
	switch binary.BigEndian.Uint32(head) {
	case 0xfeedface, 0xfeedfacf, 0xcefaedfe, 0xcffaedfe:
		return true
	case 0xcafebabe:
		return binary.BigEndian.Uint32(head[4:]) <= mostMachines
	}
	return false
}

// script reads the first line as execve(2) does.
func script(head []byte) (Program, error) {
	line, _, _ := strings.Cut(string(head), "\n")
	line = strings.Trim(line, " \t")
	name, _, _ := strings.Cut(line, " ")
	if name, _, _ = strings.Cut(name, "\t"); name == "" || name == "\r" {
		return Program{}, ErrNoShell
	}
	return Program{Script: true, Needs: name}, nil
}

// DOS reports whether the first line of a script has the end of a line of DOS: the
// kernel takes it for a part of the interpreter's name.
func (p Program) DOS() bool { return p.Script && strings.HasSuffix(p.Needs, "\r") }

// The fields of a header that tell what we want, with their places in the forms
// of 32 and 64 bits: elf(5).
const (
	machineAt  = 18
	maxHeaders = 64
	maxPath    = 4096
)

type layout struct{ size, headersAt, sizeAt, countAt, offsetAt, lengthAt, word int }

var (
	bits32 = layout{size: 52, headersAt: 28, sizeAt: 42, countAt: 44, offsetAt: 4, lengthAt: 16, word: 4}
	bits64 = layout{size: 64, headersAt: 32, sizeAt: 54, countAt: 56, offsetAt: 8, lengthAt: 32, word: 8}
)

// binaryFile reads an ELF file, as far as it is needed and with bounds.
func binaryFile(r io.ReaderAt, head []byte) (Program, error) {
	l := bits32
	if len(head) > elf.EI_CLASS && elf.Class(head[elf.EI_CLASS]) == elf.ELFCLASS64 {
		l = bits64
	}
	if len(head) < l.size {
		return Program{}, ErrUnknown
	}
	var order binary.ByteOrder = binary.LittleEndian
	if elf.Data(head[elf.EI_DATA]) == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	p := Program{Arch: arch(elf.Machine(order.Uint16(head[machineAt:])), order == binary.LittleEndian)}
	word := func(b []byte) int64 {
		if l.word == 8 {
			return int64(order.Uint64(b))
		}
		return int64(order.Uint32(b))
	}
	at, size := word(head[l.headersAt:]), int(order.Uint16(head[l.sizeAt:]))
	if size < l.lengthAt+l.word || at <= 0 {
		return p, nil
	}
	header := make([]byte, l.lengthAt+l.word)
	for i := range min(int(order.Uint16(head[l.countAt:])), maxHeaders) {
		if n, err := r.ReadAt(header, at+int64(i*size)); n < len(header) {
			return p, lacks(err)
		}
		if elf.ProgType(order.Uint32(header)) == elf.PT_INTERP {
			path := make([]byte, min(max(word(header[l.lengthAt:]), 0), maxPath))
			n, err := r.ReadAt(path, max(word(header[l.offsetAt:]), 0))
			if n < len(path) {
				return p, lacks(err)
			}
			path, _, _ = bytes.Cut(path[:n], []byte{0})
			p.Needs = string(path)
			return p, nil
		}
	}
	return p, nil
}

// lacks is why less was read than the file says that there is.
func lacks(err error) error {
	var no syscall.Errno
	if errors.As(err, &no) { // the disk's, and not for a place that no file has
		return fmt.Errorf("read its headers: %w", err)
	}
	return ErrCut
}

func arch(m elf.Machine, little bool) string {
	switch m {
	case elf.EM_X86_64:
		return "amd64"
	case elf.EM_AARCH64:
		return "arm64"
	case elf.EM_386:
		return "386"
	case elf.EM_ARM:
		return "arm"
	case elf.EM_RISCV:
		return "riscv64"
	case elf.EM_S390:
		return "s390x"
	case elf.EM_LOONGARCH:
		return "loong64"
	case elf.EM_PPC64:
		if little {
			return "ppc64le"
		}
		return "ppc64"
	}
	return strings.ToLower(strings.TrimPrefix(m.String(), "EM_"))
}
