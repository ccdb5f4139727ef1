package keeper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxKeepers is how many keepers a node may have at once: one as a rule, and one
// more for each upgrade to another generation, or whose tasks ask for what the
// earlier ones do not know.
const maxKeepers = 4

var besideName = regexp.MustCompile(`-[2-9]$`)

// folders are those that the keepers of a node may have, given one of them. The
// first is where there were no others.
func folders(dir string) []string {
	dir = filepath.Clean(dir)
	first := besideName.ReplaceAllString(dir, "")
	out := []string{first}
	for n := 2; n <= maxKeepers; n++ {
		out = append(out, fmt.Sprintf("%s-%d", first, n))
	}
	return out
}

// there reports whether a keeper lives in a folder, or died by force in it.
func there(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, pidFile))
	return err == nil
}

// alive reports whether a keeper has the folder.
func alive(dir string) (bool, error) {
	f, err := os.Open(filepath.Join(dir, lockFile)) // to write it would be told to its neighbours
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at the keeper beside this one: %w", err)
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}

// beside reads what the keepers beside the one in dir hold, in their ledgers,
// which are written before anything is done: it waits for no other process.
// dead reports whether one of them was killed, so that nobody knows what still
// runs of what it started.
func beside(dir string) (held []Status, dead bool, err error) {
	for _, other := range folders(dir) {
		if other == filepath.Clean(dir) {
			continue
		}
		if _, err := os.Stat(other); errors.Is(err, os.ErrNotExist) {
			continue
		}
		lives, err := alive(other)
		if err != nil {
			return nil, false, err
		}
		if !lives && there(other) {
			dead = true
			continue
		}
		sts, damaged, err := readLedger(other)
		if err == nil && damaged {
			err = fmt.Errorf("the ledger of the keeper in %s is damaged, so nobody knows which tasks are its: stop them, and it ends", other)
		}
		if err != nil {
			return nil, false, err
		}
		if !lives {
			sts = slices.DeleteFunc(sts, isEarly) // it has taken all that with it
		}
		held = append(held, sts...)
	}
	return held, dead, nil
}

// ofOne reports whether a slice is that of an attempt in the list which has not
// ended, or may start.
func ofOne(slice string, held []Status) bool {
	for _, st := range held {
		if st.State != Starting && st.State != Running && st.State != early {
			continue
		}
		if st.Slice == slice || st.Slice == "" && firstSlice(slice, st.ID) {
			return true
		}
	}
	return false
}

// firstSlice reports whether a slice may be that of an attempt below a keeper that
// does not write down which: web.0/3 has PARTITION/web/0-a3, or job.web of it
// since a daemon of a later version asks for it.
func firstSlice(slice, id string) bool {
	task, attempt, _ := strings.Cut(id, "/")
	dot := strings.LastIndexByte(task, '.')
	if dot < 0 {
		return false
	}
	end := task[:dot] + "/" + task[dot+1:] + "-a" + attempt
	return strings.HasSuffix(slice, "/"+end) || strings.HasSuffix(slice, "/job."+end)
}
