package prepare

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/api"
)

// kind is one of the two kinds of folders that an attempt has.
type kind struct {
	*stock
	make func(id string, after heir) (string, error)
	end  func(id string) // of an attempt of which every process is gone
}

// kinds are both, each below a root of its own.
func kinds(t *testing.T) map[string]kind {
	t.Helper()
	f, temps := openFolders(t), openTemps(t)
	return map[string]kind{
		"working folder": {&f.stock, func(id string, after heir) (string, error) {
			dir := f.Dir(id)
			err := f.create(dir, after)
			if err == nil && after.holder != (numbers{}) {
				err = os.Chown(dir, int(after.holder.uid), int(after.holder.gid))
			}
			return dir, err
		}, func(id string) { f.Release(id, true) }},
		"/tmp": {&temps.stock, temps.Make, func(id string) {
			for _, dir := range temps.Keep(temps.Ended(id)) {
				if err := os.RemoveAll(dir); err != nil {
					t.Error(err)
				}
			}
		}},
	}
}

// had is an attempt's folder, held open so that no other has its inode.
func (k kind) had(t *testing.T, id string, after heir) (dir string, ino uint64) {
	t.Helper()
	dir, err := k.make(id, after)
	if err != nil {
		t.Fatal(err)
	}
	held, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { held.Close() })
	return dir, inode(t, dir)
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("giving a folder away needs root")
	}
}

var anHeir = heir{submission: 7, version: 2, partition: "ml"}

// A folder that an attempt left as it was made is one's of the same job, version,
// partition and user, and nobody else's, who could be seen and written to by whoever
// was sent a descriptor of it; be others made before they are asked for or not. Where
// there is no heir nobody has it.
func TestAFolderIsOneJobs(t *testing.T) {
	needRoot(t)
	others := []heir{{}}
	for _, change := range []func(*heir){
		func(h *heir) { h.submission++ }, func(h *heir) { h.version++ }, func(h *heir) { h.partition = "web" },
		func(h *heir) { h.holder.uid = 1000 }, func(h *heir) { h.holder.gid = 1000 },
	} {
		h := anHeir
		change(&h)
		others = append(others, h)
	}
	all := append([]heir{anHeir}, others...)
	for name, k := range kinds(t) {
		whose := map[uint64]heir{}
		for round := range 3 {
			if round == 1 {
				for range 2 * len(all) { // nothing that is made before is left of the round before
					k.take(heir{})
				}
				k.spare = []folder{{filepath.Join(k.root, spareName+unique()), mark{}}} // and what cannot be had does not matter
			}
			for i, h := range all {
				id := fmt.Sprintf("a.%d/%d", i, round+1)
				_, ino := k.had(t, id, h)
				of, again := whose[ino]
				if again && of != h || again && h == (heir{}) {
					t.Errorf("%s: %+v has what %+v had", name, h, of)
				}
				if !again && round > 0 && h != (heir{}) {
					t.Errorf("%s: %+v has a new one, and one of its own was there", name, h)
				}
				whose[ino] = h
				k.end(id)
			}
		}
	}
}

// Two that run at once have one each, and who is prepared again under its id has what
// is there, which another job with that id leaves to nobody.
func TestOneFolderEach(t *testing.T) {
	for name, k := range kinds(t) {
		had := map[uint64]bool{}
		for i := range 4 {
			_, ino := k.had(t, fmt.Sprintf("a.%d/1", i), anHeir)
			had[ino] = true
		}
		for i := range 4 {
			k.end(fmt.Sprintf("a.%d/1", i))
		}
		for i := range 4 {
			_, ino := k.had(t, fmt.Sprintf("a.%d/2", i), anHeir)
			if !had[ino] {
				t.Errorf("%s: one of its own was there", name)
			}
			delete(had, ino)
		}
	}
	f := openFolders(t)
	dir := f.Dir("a.0/1")
	other := anHeir
	other.submission++
	if err := errors.Join(f.create(dir, anHeir), f.create(dir, other)); err != nil {
		t.Fatal(err)
	}
	if f.keep(dir) {
		t.Error("what two jobs had is kept for one")
	}
}

// touches are the ways in which a folder is not any more as it was made.
func touches(t *testing.T) map[string]func(dir string) error {
	other := t.TempDir()
	acl := []byte("\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x02\x00\x07\x00\xe8\x03\x00\x00\x04\x00\x05\x00\xff\xff\xff\xff\x10\x00\x07\x00\xff\xff\xff\xff\x20\x00\x05\x00\xff\xff\xff\xff")
	anew := func(dir string) error { return errors.Join(os.Remove(dir), os.Mkdir(dir, 0o700)) }
	return map[string]func(dir string) error{
		"a file":              func(dir string) error { return os.WriteFile(filepath.Join(dir, "x"), nil, 0o600) },
		"a hidden file":       func(dir string) error { return os.WriteFile(filepath.Join(dir, ".x"), nil, 0o600) },
		"a folder":            func(dir string) error { return os.Mkdir(filepath.Join(dir, "x"), 0o700) },
		"a socket":            func(dir string) error { return unix.Mknod(filepath.Join(dir, "x"), unix.S_IFSOCK|0o600, 0) },
		"a mode":              func(dir string) error { return os.Chmod(dir, 0o755) },
		"a bit of the mode":   func(dir string) error { return unix.Chmod(dir, 0o2700) },
		"an owner":            func(dir string) error { return os.Chown(dir, 1000, -1) },
		"a group":             func(dir string) error { return os.Chown(dir, -1, 1000) },
		"an attribute":        func(dir string) error { return unix.Setxattr(dir, "trusted.mesita", []byte("x"), 0) },
		"one of users":        func(dir string) error { return unix.Setxattr(dir, "user.mesita", []byte("x"), 0) },
		"an access list":      func(dir string) error { return unix.Setxattr(dir, "system.posix_acl_access", acl, 0) },
		"one for what is new": func(dir string) error { return unix.Setxattr(dir, "system.posix_acl_default", acl, 0) },
		"a flag":              func(dir string) error { return setFlags(dir, unix.FS_IOC_SETFLAGS, uint32(0x40)) },
		"a project": func(dir string) error {
			return setFlags(dir, 0x401c5820, fsxattr{project: 77}) // FS_IOC_FSSETXATTR
		},
		"a new one":     anew,
		"a mount":       func(dir string) error { return unix.Mount(other, dir, "", unix.MS_BIND, "") },
		"one of itself": func(dir string) error { return unix.Mount(dir, dir, "", unix.MS_BIND, "") },
		"its removal":   os.Remove,
		"a link":        func(dir string) error { return errors.Join(os.Remove(dir), os.Symlink(other, dir)) },
		"a file of its name": func(dir string) error {
			return errors.Join(os.Remove(dir), os.WriteFile(dir, nil, 0o600))
		},
	}
}

func setFlags[T any](dir string, request uintptr, value T) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, _, no := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(&value))); no != 0 {
		return no
	}
	return nil
}

// What is not as it was made has no heir, whatever was done to it.
func TestWhatWasTouchedHasNoHeir(t *testing.T) {
	needRoot(t)
	for name, k := range kinds(t) {
		for what, touch := range touches(t) {
			id := "a.1/1"
			dir, before := k.had(t, id, anHeir)
			switch err := touch(dir); {
			case errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ENOTTY), errors.Is(err, unix.EPERM), errors.Is(err, unix.EINVAL):
				t.Logf("%s: %s cannot be on this machine: %v", name, what, err)
				k.end(id)
				continue
			case err != nil:
				t.Fatal(err)
			default:
				if k.keep(dir) {
					t.Errorf("%s: one with %s is kept", name, what)
				}
			}
			for mounted := true; mounted; mounted = unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) == nil {
			}
			k.end(id)
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			if _, ino := k.had(t, "a.1/2", anHeir); ino == before {
				t.Errorf("%s: the next one has what one left with %s", name, what)
			}
			k.end("a.1/2")
			for k.Trim(t.Context()) { // the next one has a new one
			}
		}
	}
}

// Many names that were made and removed leave a folder big on some disks, and nothing
// of them on others: what is kept is as it was made.
func TestWhatHeldManyNames(t *testing.T) {
	for name, k := range kinds(t) {
		dir, _ := k.had(t, "a.1/1", anHeir)
		size := func(dir string) int64 {
			fi, err := os.Lstat(dir)
			if err != nil {
				t.Fatal(err)
			}
			return fi.Size()
		}
		fresh := size(dir)
		for i := range 500 {
			file := filepath.Join(dir, fmt.Sprintf("%0100d", i))
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 500 {
			if err := os.Remove(filepath.Join(dir, fmt.Sprintf("%0100d", i))); err != nil {
				t.Fatal(err)
			}
		}
		now := size(dir)
		if kept := k.keep(dir); kept != (now == fresh) {
			t.Errorf("%s: of %d bytes, %d when it was made: kept is %v", name, now, fresh, kept)
		}
	}
}

// Whose attempts' processes may be left, or what is not known to be as it was made,
// has no heir.
func TestWhoMayBeLeftHasNoHeir(t *testing.T) {
	f := openFolders(t)
	dir := f.Dir("a.1/1")
	if err := f.create(dir, anHeir); err != nil {
		t.Fatal(err)
	}
	f.Release("a.1/1", false)
	if _, err := os.Lstat(dir); err == nil || len(f.kept.of) > 0 || len(f.given) > 0 {
		t.Errorf("%v; %d kept, %d given", err, len(f.kept.of), len(f.given))
	}
	if err := f.create(dir, anHeir); err != nil {
		t.Fatal(err)
	}
	later, err := OpenFolders(f.root) // it did not make this one
	if err != nil {
		t.Fatal(err)
	}
	if later.Release("a.1/1", true); len(later.kept.of) > 0 {
		t.Error("kept, and nobody knows how it was made")
	}
}

// A task's folders have an heir if its confinement is whole, others of its job may
// come, and its job is known.
func TestHeirs(t *testing.T) {
	usual := func() (*api.Task, *api.TaskSpec) {
		return &api.Task{Job: "web", Index: 1, Attempt: 1, Version: 3, Partition: "ml"}, &api.TaskSpec{Command: []string{"x"}}
	}
	task, spec := usual()
	want := heir{5, 3, "ml", numbers{1000, 100}}
	who := account{uid: 1000, gid: 100}
	if got := heirOf(task, spec, 5, who); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if task.Index, task.Attempt = 0, 2; heirOf(task, spec, 5, who) != want {
		t.Error("who tries again has none")
	}
	none := map[string]func(*api.Task, *api.TaskSpec, *account, *uint64){
		"an unknown job":          func(_ *api.Task, _ *api.TaskSpec, _ *account, job *uint64) { *job = 0 },
		"a lone task":             func(t *api.Task, _ *api.TaskSpec, _ *account, _ *uint64) { t.Index = 0 },
		"a user of its own":       func(_ *api.Task, _ *api.TaskSpec, who *account, _ *uint64) { who.own = true },
		"the machine's processes": func(_ *api.Task, s *api.TaskSpec, _ *account, _ *uint64) { s.HostPIDs = true },
		"privileges":              func(_ *api.Task, s *api.TaskSpec, _ *account, _ *uint64) { s.Privileged = true },
	}
	for _, part := range api.Parts {
		none["no "+part.Name] = func(_ *api.Task, s *api.TaskSpec, _ *account, _ *uint64) { s.Unconfined = []string{part.Name} }
	}
	for what, change := range none {
		task, spec := usual()
		who, job := who, uint64(5)
		change(task, spec, &who, &job)
		if got := heirOf(task, spec, job, who); got != (heir{}) {
			t.Errorf("%s: %+v", what, got)
		}
	}
}

// So many are kept of a job, and of all; those of the job that used none for longest
// go first.
func TestKeptFoldersAreBounded(t *testing.T) {
	f := openFolders(t)
	end := func(job uint64, n int) {
		t.Helper()
		var ids []string
		for i := range n {
			id := fmt.Sprintf("j%d.%d/1", job, i+1)
			if err := f.create(f.Dir(id), heir{submission: job}); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		for _, id := range ids {
			f.Release(id, true)
		}
	}
	count := func(job uint64) int {
		if one := f.kept.of[heir{submission: job}]; one != nil {
			return len(one.folders)
		}
		return 0
	}
	of := uint64(maxKept / maxKeptOfOne)
	for job := range of {
		end(job+1, maxKeptOfOne+3)
	}
	end(1, 1) // it is the one that used some last now
	end(of+1, 5)
	for job, want := range map[uint64]int{1: maxKeptOfOne, 2: maxKeptOfOne - 5, of + 1: 5} {
		if n := count(job); n != want {
			t.Errorf("%d are kept of job %d, want %d", n, job, want)
		}
	}
	if n := len(spares(t, f.root)); n != maxKept || f.kept.all != maxKept || len(f.given) != 0 {
		t.Errorf("%d are there and %d are counted, want %d; %d given", n, f.kept.all, maxKept, len(f.given))
	}
}

// Those that nobody comes for go, some at a time, with what somebody put there who has
// one open; who comes has them meanwhile. Those of an earlier daemon go likewise.
func TestKeptFoldersGo(t *testing.T) {
	for name, k := range kinds(t) {
		const n = 2*maxTrimmed + 3
		for i := range n {
			k.had(t, fmt.Sprintf("a.%d/1", i), anHeir)
		}
		for i := range n {
			k.end(fmt.Sprintf("a.%d/1", i))
		}
		for range 3 * idleAfterTrim {
			k.Trim(t.Context())
			k.had(t, "b.1/1", anHeir) // so somebody comes
			k.end("b.1/1")
		}
		left := spares(t, k.root)
		if len(left) != n {
			t.Errorf("%s: %d are kept, want %d", name, len(left), n)
		}
		if err := os.MkdirAll(filepath.Join(left[0], "x", "y"), 0o700); err != nil {
			t.Fatal(err)
		}
		passes, before := 0, n
		for more := true; more; passes++ {
			more = k.Trim(t.Context())
			now := len(spares(t, k.root))
			if before-now > maxTrimmed || passes > n {
				t.Fatalf("%s: %d, and then %d", name, before, now)
			}
			before = now
		}
		if before != 0 || passes < idleAfterTrim+2 {
			t.Errorf("%s: %d are left after %d passes", name, before, passes)
		}
	}
}

// What a daemon that was killed kept is nobody's for the next one, and goes.
func TestKeptFoldersOfAnEarlierDaemon(t *testing.T) {
	f, temps := openFolders(t), openTemps(t)
	for i := range maxKeptOfOne {
		id := fmt.Sprintf("spare.%d/1", i) // a job may be called that
		if err := f.create(f.Dir(id), anHeir); err != nil {
			t.Fatal(err)
		}
		if _, err := temps.Make(id, anHeir); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			continue // it runs on
		}
		f.Release(id, true)
		temps.Keep(temps.Ended(id))
	}
	later, err := OpenFolders(f.root)
	if err != nil {
		t.Fatal(err)
	}
	laterTemps, err := OpenTemps(temps.root)
	if err != nil {
		t.Fatal(err)
	}
	for later.Trim(t.Context()) {
	}
	mustRemove(t, laterTemps, laterTemps.Nobodys(map[string]bool{"spare.0/1": true}))
	for _, root := range []string{f.root, temps.root} {
		if names, err := os.ReadDir(root); err != nil || len(names) != 1 {
			t.Errorf("%v are left, %v", names, err)
		}
	}
}

// Nothing is given over what is there, be it empty.
func TestNothingIsGivenOverAnother(t *testing.T) {
	for name, k := range kinds(t) {
		_, ino := k.had(t, "a.1/1", anHeir)
		k.end("a.1/1")
		there := filepath.Join(k.root, "there")
		if err := os.Mkdir(there, 0o700); err != nil {
			t.Fatal(err)
		}
		was := inode(t, there)
		if err := k.stock.make(there, anHeir); !errors.Is(err, os.ErrExist) || inode(t, there) != was || was == ino {
			t.Errorf("%s: %v, and another is there", name, err)
		}
	}
}

// Who has a folder open from an attempt that had it can put something there while it
// is nobody's: the next one finds nothing of that.
func TestWhatIsPlantedIsNotGiven(t *testing.T) {
	for name, k := range kinds(t) {
		dir, ino := k.had(t, "a.1/1", anHeir)
		fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		k.end("a.1/1")
		file, err := unix.Openat(fd, "planted", unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(file)
		next, again := k.had(t, "a.1/2", anHeir)
		if in, err := os.ReadDir(next); err != nil || len(in) != 0 || again == ino {
			t.Errorf("%s: %v, %v", name, in, err)
		}
	}
}
