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
	Kept    []Kept       `json:"kept,omitempty"`  // what the node has of them in its cache, and put into the folder
	Stall   api.Duration `json:"stall,omitempty"` // without progress; 0: a minute
	Total   api.Duration `json:"total,omitempty"` // of all together; 0: two hours
}

// Kept is a file as the web had it at some time.
type Kept struct {
	File     int    `json:"file"` // index in Order.Files
	Here     string `json:"here"` // its name in the folder
	ETag     string `json:"etag,omitempty"`
	Modified string `json:"modified,omitempty"` // in the words of its server
}

// Fetched is what the process says of a file that the node may keep.
type Fetched struct {
	File     int    `json:"file"`
	ETag     string `json:"etag,omitempty"`
	Modified string `json:"modified,omitempty"`
	Same     bool   `json:"same,omitempty"` // as Kept
}

const (
	usualStall   = time.Minute
	usualTotal   = 2 * time.Hour
	maxRedirects = 10
	incoming     = ".mesita-fetched" // what a file is called until all of it is there
)

// Main is the process: it does what its environment asks for, in its working folder, and
// returns its exit code. What can be kept goes to out, a line for each; why it failed, in
// one line for the user of the task, to why.
func Main(ctx context.Context, out, why io.Writer) int {
	var o Order
	err := json.Unmarshal([]byte(os.Getenv(Variable)), &o)
	_ = os.Unsetenv(Variable) // fails for names alone that cannot be
	if err == nil {
		err = o.run(ctx, ".", out)
	}
	if err != nil {
		fmt.Fprintln(why, strings.Join(strings.Fields(err.Error()), " "))
		return 1
	}
	return 0
}

// run does it in a folder.
func (o *Order) run(ctx context.Context, dir string, out io.Writer) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	total := cmp.Or(time.Duration(o.Total), usualTotal)
	ctx, cancel := context.WithTimeoutCause(ctx, total, fmt.Errorf("it was not done within %s, and was given up", api.Duration(total)))
	defer cancel()
	into := &folder{root: root, disk: dir, left: o.Max, reserve: o.Reserve}
	w := newWeb(cmp.Or(time.Duration(o.Stall), usualStall))
	for i := range o.Files {
		f := &o.Files[i]
		got := Fetched{File: i}
		if err := o.bring(ctx, w, into, &got); err != nil {
			return fmt.Errorf("fetch %s: %w", f.Shown(), err)
		}
		if !f.Cache {
			continue
		}
		line, err := json.Marshal(got)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "%s\n", line); err != nil {
			return err
		}
	}
	return nil
}

// bring has one file be in the folder as it is asked for.
func (o *Order) bring(ctx context.Context, w *web, into *folder, got *Fetched) error {
	f := &o.Files[got.File]
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
	if err := o.load(ctx, w, into, u, mode, got); err != nil {
		_ = into.root.Remove(incoming) // what is left of it
		return err
	}
	if err := into.place(incoming, name); err != nil {
		return err
	}
	if f.Executable || !f.Extract || api.Archive(name) == "" {
		return nil
	}
	return into.unpack(ctx, name)
}

// load has the content be in the folder, under the name of what is not complete yet.
func (o *Order) load(ctx context.Context, w *web, into *folder, u *url.URL, mode os.FileMode, got *Fetched) error {
	f := &o.Files[got.File]
	if err := into.clear(incoming); err != nil {
		return err
	}
	var kept *Kept
	for i := range o.Kept {
		if o.Kept[i].File == got.File {
			kept = &o.Kept[i]
		}
	}
	var content io.ReadCloser
	var err error
	switch sum := f.Checksum(); {
	case u.Scheme == "file":
		content, err = openFile(u.Path, into.left)
	case kept != nil && sum != nil: // nobody need be asked whether it is what it has to be
		got.Same = true
	default:
		content, err = w.open(ctx, u, kept, into.left, got)
	}
	if err != nil {
		return err
	}
	if got.Same {
		if content, err = into.root.Open(kept.Here); err != nil {
			return err
		}
	}
	defer content.Close()
	sum := sha256.New()
	from := io.Reader(content)
	if f.Checksum() != nil {
		from = io.TeeReader(content, sum)
	}
	if err := into.write(incoming, from, mode); err != nil {
		return w.because(ctx, err)
	}
	if want := f.Checksum(); want != nil && !bytes.Equal(sum.Sum(nil), want) {
		return fmt.Errorf("its SHA-256 is %x, and the URI says %x", sum.Sum(nil), want)
	}
	return nil
}
