package prepare

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A state that is older than a volume says nothing of it: what it has to say of those
// before is done.
func TestAnOlderStateRemovesNoNewerVolume(t *testing.T) {
	v, err := OpenVolumes(filepath.Join(t.TempDir(), "volumes"))
	if err != nil {
		t.Fatal(err)
	}
	me := account{uid: uint32(os.Getuid()), gid: uint32(os.Getgid())}
	for _, name := range []string{"a-7", "b-9"} {
		if err := v.make(name, me); err != nil {
			t.Fatal(err)
		}
	}
	left := func() (names []string) {
		all, err := os.ReadDir(v.root)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			names = append(names, e.Name())
		}
		return names
	}
	for _, step := range []struct {
		keep  []string
		index uint64
		want  []string
	}{{[]string{"a-7"}, 8, []string{"a-7", "b-9"}}, {nil, 8, []string{"b-9"}}, {nil, 9, nil}} {
		v.Keep(step.keep, step.index)
		if err := v.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := left(); !slices.Equal(got, step.want) {
			t.Errorf("at %d, with %q kept, %q are left, want %q", step.index, step.keep, got, step.want)
		}
	}
	if err := v.make("a-7", me); err == nil || !strings.Contains(err.Error(), "destroyed") {
		t.Errorf("one that was destroyed is made again: %v", err)
	}
	if err := v.make("c-12", me); err != nil {
		t.Errorf("one of which the cluster is still to tell: %v", err)
	}
}

// What attempts left is the next one's, whichever of them it is of, but not what other
// users have, nor what links lead to; and no more is looked at than is bounded.
func TestWhatAttemptsLeftIsHandedOn(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root gives files to others")
	}
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "outside")
	write := func(path string, uid int) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Lchown(path, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	write(outside, firstUID)
	write(filepath.Join(dir, "deep", "er", "one"), firstUID)
	write(filepath.Join(dir, "two"), lastUID)
	write(filepath.Join(dir, "admins"), 0)
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	give := func(most int) error {
		top, err := openFolder(unix.AT_FDCWD, dir)
		if err != nil {
			t.Fatal(err)
		}
		defer top.Close()
		h := handover{to: account{uid: firstUID + 5, gid: firstUID + 5}, left: most}
		return h.all(top, 0)
	}
	if err := give(maxInherited); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]uint32{filepath.Join(dir, "deep", "er", "one"): firstUID + 5, filepath.Join(dir, "two"): firstUID + 5, filepath.Join(dir, "admins"): 0, outside: firstUID} {
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil || st.Uid != want {
			t.Errorf("%s is of %d, want %d: %v", path, st.Uid, want, err)
		}
	}
	if err := give(3); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("more than may be looked at: %v", err)
	}
	deep := dir
	for range maxInheritDepth + 2 {
		deep = filepath.Join(deep, "d")
	}
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := give(maxInherited); err == nil || !strings.Contains(err.Error(), "folders in more than") {
		t.Errorf("deeper than may be looked at: %v", err)
	}
}
