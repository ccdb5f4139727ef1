// Package fetch brings the files of a task into its folder and unpacks them. It runs in
// a process of its own that has the task's user, folder, limits and view of the machine,
// so that it reads and writes what the task itself could, and nothing else: Main is that
// process, which the executor has the keeper start. It does not own when files are
// fetched, nor what becomes of a task whose files cannot be had.
package fetch

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
)

// Variable has the Order in the environment of the process: other users of the machine
// can read the arguments of a process, and a URI may have a secret in it.
const Variable = "MESITA_FETCH_ORDER"

// Order is what the process is to do.
type Order struct {
	Files   []api.Fetch  `json:"files"`
	Max     int64        `json:"max"`             // bytes that may be written
	Reserve int64        `json:"reserve"`         // bytes of the disk that stay free
	Name    string       `json:"name"`            // of this process, as another one may still be in the folder
	Stall   api.Duration `json:"stall,omitempty"` // without progress; 0: a minute
	Total   api.Duration `json:"total,omitempty"` // of all together; 0: two hours
}

const (
	usualStall   = time.Minute
	usualTotal   = 2 * time.Hour
	maxRedirects = 10
	incoming     = ".mesita-fetched" // what a file is called until all of it is there begins so
)

// Main is the process: it does what its environment asks for, in its working folder, and
// returns its exit code. Why it failed goes to why, in one line for the user of the task.
func Main(ctx context.Context, why io.Writer) int {
	var o Order
	err := json.Unmarshal([]byte(os.Getenv(Variable)), &o)
	_ = os.Unsetenv(Variable) // fails for names alone that cannot be
	if err == nil {
		err = o.run(ctx, ".")
	}
	if err != nil {
		fmt.Fprintln(why, strings.Join(strings.Fields(err.Error()), " "))
		return 1
	}
	return 0
}

// run does it in a folder.
func (o *Order) run(ctx context.Context, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	total := cmp.Or(time.Duration(o.Total), usualTotal)
	ctx, cancel := context.WithTimeoutCause(ctx, total, fmt.Errorf("it was not done within %s, and was given up", api.Duration(total)))
	defer cancel()
	into := &folder{root: root, disk: dir, left: o.Max, reserve: o.Reserve, incoming: incoming + o.Name}
	if err := into.discard(); err != nil {
		return err
	}
	w := newWeb(cmp.Or(time.Duration(o.Stall), usualStall))
	for i := range o.Files {
		if err := bring(ctx, w, into, &o.Files[i]); err != nil {
			return fmt.Errorf("fetch %s: %w", o.Files[i].Shown(), err)
		}
	}
	return nil
}

// bring has one file be in the folder as it is asked for.
func bring(ctx context.Context, w *web, into *folder, f *api.Fetch) error {
	u, err := f.Parse()
	if err != nil {
		return err
	}
	name := f.Name()
	if err := into.makeParents(path.Dir(name)); err != nil {
		return err
	}
	mode := os.FileMode(0o644)
	if f.Executable {
		mode = 0o755
	}
	if err := load(ctx, w, into, u, mode, f); err != nil {
		_ = into.root.Remove(into.incoming) // what is left of it
		return err
	}
	if err := into.place(into.incoming, name); err != nil {
		return err
	}
	if f.Executable || !f.Extract || api.Archive(name) == "" {
		return nil
	}
	return into.unpack(ctx, name)
}

// load has the content be in the folder, under the name of what is not complete yet.
func load(ctx context.Context, w *web, into *folder, u *url.URL, mode os.FileMode, f *api.Fetch) error {
	if err := into.clear(into.incoming); err != nil {
		return err
	}
	var content io.ReadCloser
	var err error
	if u.Scheme == "file" {
		content, err = openFile(u.Path, into.left)
	} else {
		content, err = w.open(ctx, u, into.left)
	}
	if err != nil {
		return err
	}
	defer content.Close()
	sum := sha256.New()
	from := io.Reader(content)
	if f.Checksum() != nil {
		from = io.TeeReader(content, sum)
	}
	if err := into.write(into.incoming, from, mode); err != nil {
		return w.because(ctx, err)
	}
	if want := f.Checksum(); want != nil && !bytes.Equal(sum.Sum(nil), want) {
		return fmt.Errorf("its SHA-256 is %x, and the URI says %x", sum.Sum(nil), want)
	}
	return nil
}
