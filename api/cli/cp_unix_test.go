//go:build unix

package cli

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mesita/mesita/api/cli/tree"
)

// A link that was named is followed, one in a folder that was named is not; what is not a
// file is not made one.
func TestLocalTarget(t *testing.T) {
	dir := t.TempDir()
	at := func(s string) string { return filepath.Join(dir, s) }
	for _, err := range []error{
		os.WriteFile(at("file"), nil, 0o600), os.Mkdir(at("folder"), 0o700), os.Symlink("file", at("link")),
		os.Symlink("link", at("link2")), os.Symlink("none", at("dangling")), os.Symlink("../file", at("folder/f")),
		syscall.Mkfifo(at("pipe"), 0o600), syscall.Mknod(at("socket"), syscall.S_IFSOCK|0o600, 0),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for to, want := range map[string]string{
		"file": "file", "link": "file", "link2": "file", "folder": "folder/f", "new": "new", "pipe": "pipe",
	} {
		if got, err := localTarget(at(to), "f"); err != nil || got.Path != at(want) {
			t.Errorf("%s: %s, %v", to, got.Path, err)
		}
	}
	for to, says := range map[string]string{"dangling": "link to what is not there", "none/x": "make it first", "none/": "make it"} {
		if _, err := localTarget(dir+"/"+to, "f"); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", to, err)
		}
	}
	for to, stream := range map[string]bool{at("file"): false, at("link"): false, at("folder"): false, at("new"): false, os.DevNull: true} {
		if w, err := openStream(t.Context(), to); err != nil || (w != nil) != stream {
			t.Errorf("%s: %v, %v", to, w, err)
		}
	}
	if _, err := openStream(t.Context(), at("socket")); err == nil || !strings.Contains(err.Error(), "is a socket") {
		t.Error(err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if _, err := openStream(stopped, at("pipe")); err == nil || !strings.Contains(err.Error(), "nothing read") {
		t.Error(err)
	}
}

// What a program before and after writes to, as the shell does behind > file, is written to
// where they are: it is not replaced by another file, and nothing in it is lost.
func TestAnOpenFileIsWrittenTo(t *testing.T) {
	at := filepath.Join(t.TempDir(), "out")
	f, err := os.Create(at)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	name := fmt.Sprintf("/dev/fd/%d", f.Fd())
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(name, link); err != nil {
		t.Fatal(err)
	}
	want := ""
	for _, to := range []string{name, link} {
		if dst, err := localTarget(to, "f"); err != nil || dst.Path != to {
			t.Errorf("%s: %+v, %v", to, dst, err)
		}
		w, err := openStream(t.Context(), to)
		if err != nil || w == nil {
			t.Fatal(w, err)
		}
		if _, err := io.WriteString(f, "before "); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, "copy "); err != nil {
			t.Fatal(err)
		}
		w.(io.Closer).Close()
		if _, err := io.WriteString(f, "after "); err != nil {
			t.Fatal(err)
		}
		want += "before copy after "
	}
	if got, err := os.ReadFile(at); err != nil || string(got) != want {
		t.Errorf("%q, %v", got, err)
	}
	if n := descriptor(at); n != -1 {
		t.Errorf("%s is %d", at, n)
	}
}

// That a file grew is a warning, and only that, however the words arrive.
func TestSaidByTar(t *testing.T) {
	for said, want := range map[string]bool{
		"": false, "tar: ./f: file changed as we read it\n": true,
		strings.Repeat("tar: ./log: file changed as we read it\n", 100):                                                 true,
		strings.Repeat("tar: ./log: file changed as we read it\n", 100) + "tar: ./x: File shrank; padding with zeros\n": false,
		"tar: ./x: Cannot open: Permission denied\ntar: ./log: file changed as we read it\n":                            false,
		"tar: ./f: file changed as we read it\ntar: ./x: Fi":                                                            false,
	} {
		for _, n := range []int{1, 7, 4000} {
			w := &saidByTar{}
			for rest := []byte(said); len(rest) > 0; rest = rest[min(n, len(rest)):] {
				_, _ = w.Write(rest[:min(n, len(rest))]) // into memory
			}
			if got := w.onlyChanges(); got != want {
				t.Errorf("%d bytes at a time of %.80q: %v", n, said, got)
			}
		}
	}
}

func TestEmptyFilesOfTheKernelAreRefused(t *testing.T) {
	for p, want := range map[string]bool{
		"/proc/self/status": true, "//proc/x": true, "/x/../proc/y": true, "/sys/kernel/x": true, "/proc": true,
		"/process": false, "proc/x": false, "/data/proc/x": false,
	} {
		if sizeless(p) != want {
			t.Errorf("%s: %v", p, !want)
		}
	}
	refuse := (&copying{task: "web.0"}).refuseEmpty("/proc/self/status")
	if err := refuse("./status", 0); err == nil || !strings.Contains(err.Error(), "`mesita exec web.0 -- cat /proc/self/status`") {
		t.Error(err)
	}
	if err := refuse("./status", 1); err != nil {
		t.Error(err)
	}
}

// Folders that are in a task keep their modes, whichever tar it has; what is new has those
// of the copy.
func TestATasksFoldersKeepTheirModes(t *testing.T) {
	for _, which := range []string{"tar", "busybox"} {
		real, err := exec.LookPath(which)
		if err != nil {
			t.Logf("no %s here", which)
			continue
		}
		src, dst, bin := t.TempDir(), t.TempDir(), t.TempDir()
		if err := os.Symlink(real, filepath.Join(bin, "tar")); err != nil {
			t.Fatal(err)
		}
		for _, d := range []string{filepath.Join(src, "there"), filepath.Join(src, "new"), filepath.Join(dst, "there")} {
			if err := os.Mkdir(d, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(src, "new", "f"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		for at, mode := range map[string]os.FileMode{src: 0o777, src + "/there": 0o777, src + "/new": 0o775, src + "/new/f": 0o666, dst: 0o750} {
			if err := os.Chmod(at, mode); err != nil {
				t.Fatal(err)
			}
		}
		var b bytes.Buffer
		if _, err := tree.Pack(&b, src, "."); err != nil {
			t.Fatal(err)
		}
		command := unpackAt(dst, "0")
		cmd := exec.Command(command[0], command[1:]...)
		cmd.Stdin, cmd.Env = &b, []string{"PATH=" + bin + ":/usr/bin:/bin"}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", which, err, out)
		}
		for at, want := range map[string]os.FileMode{"": 0o750, "there": 0o700, "new": 0o775, "new/f": 0o666} {
			info, err := os.Stat(filepath.Join(dst, at))
			if err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %q is %v, not %v: %v", which, at, info.Mode().Perm(), want, err)
			}
		}
	}
}

// GNU tar ends with 1 when a file grows, and what it wrote is whole.
func TestWhatTarSaysOfAFileThatGrows(t *testing.T) {
	out, err := exec.Command("tar", "--version").Output()
	if err != nil || !bytes.Contains(out, []byte("GNU")) {
		t.Skip("no GNU tar")
	}
	at := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(at, bytes.Repeat([]byte("x"), 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	said := &saidByTar{}
	cmd := exec.Command("tar", "-C", filepath.Dir(at), "-cf", "-", "./log")
	cmd.Stderr = said
	r, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	got := tar.NewReader(r)
	if _, err := got.Next(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(at, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("more"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	var all bytes.Buffer
	if _, err := all.ReadFrom(got); err != nil || all.Len() != 8<<20 {
		t.Errorf("%d bytes, %v", all.Len(), err)
	}
	_, _ = all.ReadFrom(r) // what fills the last block
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 || !said.onlyChanges() {
		t.Errorf("%v: %s", err, said)
	}
}
