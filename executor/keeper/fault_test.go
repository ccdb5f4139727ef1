package keeper_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/isolation"
)

const envPoor = "MESITA_TEST_KEEPER_POOR"

// becomePoor has this process begin again, if that is asked for, as the daemon of a
// node on which a user may have one process and nobody a higher priority.
func becomePoor() error {
	if os.Getenv(envPoor) == "" {
		return nil
	}
	runtime.LockOSThread() // what it loses is the thread's, and after the exec the process's
	const capSysNice = 23
	return errors.Join(
		os.Unsetenv(envPoor),
		unix.Prctl(unix.PR_CAPBSET_DROP, capSysNice, 0, 0, 0),
		unix.Setrlimit(unix.RLIMIT_NPROC, &unix.Rlimit{}), // one that is about to be its user's is not counted yet
		unix.Setrlimit(unix.RLIMIT_NICE, &unix.Rlimit{}),
		syscall.Exec("/proc/self/exe", os.Args, os.Environ()),
	)
}

// cutOff is a program of this machine that ends before the name of its loader.
func cutOff(t *testing.T) string {
	own, err := elf.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	h := elf.Header64{Type: uint16(elf.ET_DYN), Machine: uint16(own.Machine), Version: uint32(elf.EV_CURRENT), Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(own.Class), byte(own.Data), byte(elf.EV_CURRENT)
	var b bytes.Buffer
	for _, part := range []any{h, elf.Prog64{Type: uint32(elf.PT_INTERP), Off: 4096, Filesz: 16}} {
		if err := binary.Write(&b, own.ByteOrder, part); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "cut")
	if err := os.WriteFile(path, b.Bytes(), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// What fails for what a task asks for is its own fault: a node that was blamed for
// that would be left alone by all others.
func TestWhatATaskAsksForIsItsOwnFault(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("other users need root")
	}
	const uid = 61234
	r := newRig(t)
	r.cfg.Argv[2] = strings.Replace(r.cfg.Argv[2], "exec env", fmt.Sprintf("exec env %s=1", envPoor), 1)
	c := r.client()
	as := func(id string) keeper.StartRequest {
		q := r.request(id, "/bin/sleep", "1000")
		q.UID, q.GID, q.Dir = uid, uid, "/"
		return q
	}
	if _, err := c.Start(t.Context(), as("a.0/1")); err != nil {
		t.Fatal(err)
	}
	crowded := as("a.1/1")
	crowded.Rlimits = []isolation.Rlimit{{Resource: unix.RLIMIT_NPROC}}
	closed, err := os.MkdirTemp("/tmp", "mesita-closed-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(closed)
	if err := os.Mkdir(closed+"/in", 0o755); err != nil {
		t.Fatal(err)
	}
	hidden := as("a.2/1")
	hidden.PrivateMounts, hidden.Temporary, hidden.Named = true, t.TempDir(), []string{closed + "/in/"}
	cut := r.request("a.4/1", cutOff(t))
	full := as("a.5/1")
	kind := as("a.6/1")
	kind.UID, kind.GID, kind.Nice = 0, 0, -1
	for name, want := range map[string]struct {
		of   keeper.StartRequest
		says string
		not  bool // it is not seen here
	}{
		"fewer processes than its user has":      {crowded, "the ulimit nproc=0:0 lets it have", byThread},
		"a folder that its user cannot come to":  {hidden, "permission denied", false},
		"a program that is cut off":              {cut, "input/output error", false},
		"all processes that its user may have":   {full, "has as many processes on this node as it may have", byThread},
		"a nice value that the node may not set": {kind, "the nice value -1 cannot be set", false},
	} {
		if want.not {
			continue
		}
		if _, err := c.Start(t.Context(), want.of); !errors.Is(err, keeper.ErrProgram) || !strings.Contains(err.Error(), want.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The one that holds its user's place is gone for what can begin.
	if err := c.Kill(t.Context(), "a.0/1"); err != nil {
		t.Fatal(err)
	}
	c.exit("a.0/1")
	hidden.ID = "a.3/1"
	if err := os.Chmod(closed, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Start(t.Context(), hidden); err != nil {
		t.Errorf("it can come there: %v", err)
	}
	hidden.ID, hidden.Slice, hidden.Temporary = "a.7/1", as("a.7/1").Slice, t.TempDir()
	if err := unix.Mount("tmpfs", hidden.Temporary, "tmpfs", 0, "nr_inodes=1"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(hidden.Temporary, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	for _, named := range []string{closed + "/in/", closed + "/file"} { // it takes a folder, and a file
		hidden.Named = []string{named}
		if err := os.WriteFile(closed+"/file", nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Start(t.Context(), hidden); !errors.Is(err, keeper.ErrDiskFull) || errors.Is(err, keeper.ErrProgram) || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("a full disk of the node's: %v", err)
		}
	}
}

// A disk that is full is told as that wherever a start writes, also the first of a
// keeper, and the next one begins once there is room.
func TestAFullDiskIsNobodysProgram(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a disk that is full needs root")
	}
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("no disk can be made: " + err.Error())
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	fill := func() {
		f, err := os.Create(filepath.Join(disk, "filler"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for piece := make([]byte, 4096); ; {
			if _, err := f.Write(piece); err != nil {
				return
			}
		}
	}
	room := func() {
		if err := os.Remove(filepath.Join(disk, "filler")); err != nil {
			t.Fatal(err)
		}
	}
	r := newRig(t)
	full := func(where, id string) {
		t.Helper()
		if _, err := r.client().Start(t.Context(), r.request(id, "/bin/true")); !errors.Is(err, keeper.ErrDiskFull) {
			t.Errorf("%s: %v", where, err)
		}
	}
	r.dir = filepath.Join(disk, "keeper")
	r.cfg.Dir = r.dir
	fill()
	full("a keeper that is started", "a.0/1")
	room()
	c := r.client()
	c.start("a.1/1", "/bin/sleep", "1000")
	fill()
	for i := range 100 { // until the last page of its ledger is full
		if _, err := c.Start(t.Context(), r.request(fmt.Sprintf("b.%d/1", i), "/bin/true")); errors.Is(err, keeper.ErrDiskFull) {
			break
		} else if err != nil || i == 99 {
			t.Errorf("the keeper's ledger: %v", err)
			break
		}
	}
	room()
	c.start("a.2/1", "/bin/true")
	c.exit("a.2/1")
}
