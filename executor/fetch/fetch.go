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
	"maps"
	"net/url"
	"os"
	"path"
	"strconv"
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

	Kept map[int]Origin `json:"kept,omitempty"` // those of the files that the node has, by their place among them; KeptName says where
}

// Origin is what a file was when it was fetched, by which it is known whether it is now
// another one.
type Origin struct {
	Size     int64  `json:"size"`
	Sum      []byte `json:"sum"` // SHA-256
	ETag     string `json:"etag,omitempty"`
	Modified string `json:"modified,omitempty"` // as the server says it
}

// Came reads what Main wrote of files. It is of a process with a task's rights: nothing
// but the places of files that may be kept is believed, and what they are has to be seen.
func Came(said []byte, files []api.Fetch) (map[int]Origin, error) {
	var came map[int]Origin
	if err := json.Unmarshal(said, &came); err != nil {
		return nil, fmt.Errorf("read what was fetched: %w", err)
	}
	maps.DeleteFunc(came, func(i int, is Origin) bool {
		return i < 0 || i >= len(files) || !files[i].Keeps() || is.Size < 0 || len(is.Sum) != sha256.Size || len(is.ETag) > maxWord || len(is.Modified) > maxWord
	})
	return came, nil
}

// KeptName is what a file of the node is called in the task's folder until it is taken.
func KeptName(process string, place int) string {
	return incoming + process + "-kept-" + strconv.Itoa(place)
}

const (
	usualStall   = time.Minute
	usualTotal   = 2 * time.Hour
	maxRedirects = 10
	incoming     = ".mesita-fetched" // what a file is called until all of it is there begins so
)

// Main is the process: it does what its environment asks for, in its working folder, and
// returns its exit code. Why it failed goes to why, in one line for the user of the task.
// What came, and may be kept, goes to came, in JSON: an Origin by the place of its file.
func Main(ctx context.Context, came, why io.Writer) int {
	var o Order
	err := json.Unmarshal([]byte(os.Getenv(Variable)), &o)
	_ = os.Unsetenv(Variable) // fails for names alone that cannot be
	var origins map[int]Origin
	if err == nil {
		origins, err = o.run(ctx, ".")
	}
	if err == nil && len(origins) > 0 {
		err = json.NewEncoder(came).Encode(origins)
	}
	if err != nil {
		fmt.Fprintln(why, strings.Join(strings.Fields(err.Error()), " "))
		return 1
	}
	return 0
}

// run does it in a folder.
func (o *Order) run(ctx context.Context, dir string) (came map[int]Origin, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	total := cmp.Or(time.Duration(o.Total), usualTotal)
	ctx, cancel := context.WithTimeoutCause(ctx, total, fmt.Errorf("it was not done within %s, and was given up", api.Duration(total)))
	defer cancel()
	into := &folder{root: root, disk: dir, left: o.Max, reserve: o.Reserve, incoming: incoming + o.Name}
	kept := map[string]bool{}
	for i := range o.Kept {
		kept[KeptName(o.Name, i)] = true
	}
	if err := into.discard(kept); err != nil {
		return nil, err
	}
	defer func() {
		for name := range kept {
			_ = root.Remove(name) // if something went wrong before it was taken
		}
	}()
	w := newWeb(cmp.Or(time.Duration(o.Stall), usualStall))
	came = map[int]Origin{}
	for i := range o.Files {
		f := &wanted{Fetch: &o.Files[i]}
		if is, ok := o.Kept[i]; ok {
			f.kept, f.is = KeptName(o.Name, i), is
		}
		if err := bring(ctx, w, into, f); err != nil {
			return nil, fmt.Errorf("fetch %s: %w", f.Shown(), err)
		}
		if f.Keeps() && f.kept == "" {
			came[i] = f.is
		}
	}
	return came, nil
}

// wanted is a file that is to come.
type wanted struct {
	*api.Fetch
	kept string // what it is called if it is here already
	is   Origin
}

// bring has one file be in the folder as it is asked for.
func bring(ctx context.Context, w *web, into *folder, f *wanted) error {
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
func load(ctx context.Context, w *web, into *folder, u *url.URL, mode os.FileMode, f *wanted) error {
	if err := into.clear(into.incoming); err != nil {
		return err
	}
	if f.kept != "" {
		if f.Checksum() != nil || w.unchanged(ctx, u, f.is) {
			return into.adopt(f.kept, f.is.Size, mode)
		}
		if err := into.clear(f.kept); err != nil {
			return err
		}
		f.kept = ""
	}
	var content io.ReadCloser
	var err error
	if u.Scheme == "file" {
		content, err = openFile(u.Path, into.left)
	} else {
		content, f.is, err = w.open(ctx, u, into.left)
	}
	if err != nil {
		return err
	}
	defer content.Close()
	sum := sha256.New()
	from := io.Reader(content)
	if f.Checksum() != nil || f.Keeps() {
		from = io.TeeReader(content, sum)
	}
	before := into.left
	if err := into.write(into.incoming, from, mode); err != nil {
		return w.because(ctx, err)
	}
	f.is.Size, f.is.Sum = before-into.left, sum.Sum(nil)
	if want := f.Checksum(); want != nil && !bytes.Equal(f.is.Sum, want) {
		return fmt.Errorf("its SHA-256 is %x, and the URI says %x", f.is.Sum, want)
	}
	return nil
}
