package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/tree"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

// A copy is an exec of the task's own `tar`: whoever copies may have what an exec lets it
// have, and no more, whatever links there are or appear meanwhile. A task sees the files
// of its node, so there is one; a helper of our own would need to be reachable in each
// task's world, and its memory would count as the task's.

const (
	cpForm = "cp TASK:PATH LOCAL, or cp LOCAL TASK:PATH"
	// whatIs says what a path in a task is: a folder, something else, nothing in a folder
	// that there is, or nothing at all.
	whatIs = `if [ -d "$1" ]; then echo folder; elif [ -e "$1" ] || [ -L "$1" ]; then echo file; elif [ -d "$2" ]; then echo new; else echo none; fi`
	// unpackScript asks which tar there is: GNU's leaves folders alone if told, BusyBox's if it
	// makes what is new by the mask.
	unpackScript = `case $(tar --help 2>&1) in
*--no-overwrite-dir*) exec tar -C "$1" --no-overwrite-dir -xpof - ;;
*--no-same-permissions*) umask ${2:-$(umask)}; exec tar -C "$1" --no-same-permissions -xof - ;;
esac
exec tar -C "$1" -xpof -`
)

func (a *app) cpCommand() *cli.Command {
	return &cli.Command{
		Name: "cp", Usage: "copy files and folders out of a running task, or into it", ArgsUsage: "TASK:PATH LOCAL | LOCAL TASK:PATH",
		Description: "A folder that is there already gets the copy inside it; PATH/. is only what is in a folder. LOCAL - is a tar on\n" +
			"standard input or output. A relative PATH begins in the task's folder. Modes and times are kept; owners, setuid\n" +
			"bits, devices and pipes are not. It is done by the task's tar, as the user of the task, with what it may see.\n\n" +
			example("mesita cp web.0:/etc/hosts .", "mesita cp ./conf web.0:conf", "mesita cp web.0:data - | tar tv"),
		Action: func(c *cli.Context) error {
			if err := args(c, 2, 2, cpForm); err != nil {
				return err
			}
			from, to := c.Args().Get(0), c.Args().Get(1)
			task, at, out := splitRemote(from)
			into, under, in := splitRemote(to)
			switch {
			case out == in:
				return usage("mesita %s: one of them is in a task, as web.0:/etc/hosts, and the other is not; a local name with a colon begins with ./", cpForm)
			case out && at == "" || in && under == "":
				return usage("mesita %s: the path in the task is missing: . is its folder", cpForm)
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			p := &copying{app: a, cl: cl}
			if p.task, err = a.runningTask(c, cl, task+into); err != nil {
				return err
			}
			if out {
				return p.fetch(c.Context, at, to)
			}
			return p.send(c.Context, from, under)
		},
	}
}

// splitRemote is the task, or job, and the path of an argument that names one.
func splitRemote(s string) (task, at string, ok bool) {
	task, at, ok = strings.Cut(s, ":")
	if !ok || task == "" || strings.Contains(task, "/") || filepath.VolumeName(s) != "" {
		return "", "", false
	}
	return task, at, true
}

type copying struct {
	*app
	cl   *client.Client
	task string
}

// fetch copies out of the task.
func (p *copying) fetch(ctx context.Context, from, to string) error {
	dir, base := parted(from)
	command := []string{"tar", "-C", dir, "-cf", "-", "./" + base}
	if to == "-" {
		if isTerminal(p.out) {
			return usage("mesita cp: a tar is not for a terminal: have it go to a file or a program, as in > x.tar")
		}
		if sizeless(from) {
			return api.Errorf(api.CodeFailed, "most files below /proc and /sys say that they are empty, and would be so in a tar: `mesita exec %s -- cat %s` reads one", p.task, from)
		}
		return p.run(ctx, nil, p.out, command)
	}
	dst, err := localTarget(to, base)
	if err != nil {
		return err
	}
	if sizeless(from) {
		dst.Refuse = p.refuseEmpty(from)
	}
	if dst.Stream, err = openStream(ctx, to); err != nil {
		return err
	}
	if dst.Stream != nil {
		defer dst.Stream.(io.Closer).Close()
	}
	outer := ctx
	ctx, cancel := context.WithCancel(outer)
	defer cancel()
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := p.run(ctx, nil, w, command)
		w.CloseWithError(err)
		ended <- err
	}()
	done, err := tree.Unpack(r, base, dst)
	if err != nil {
		cancel()
		r.CloseWithError(err)
	}
	if failed := <-ended; failed != nil && (err == nil || ctx.Err() == nil || errors.Is(err, failed)) {
		err = failed
	}
	return p.copied(outer, done, err)
}

// parted is the folder of a path, and what is asked for in it; "." is what is in the folder.
func parted(p string) (dir, base string) {
	if p == "/" || path.Base(p) == "." || path.Base(p) == ".." || strings.HasSuffix(p, "/.") {
		return p, "."
	}
	p = strings.TrimRight(p, "/")
	return path.Dir(p), path.Base(p)
}

// send copies into the task.
func (p *copying) send(ctx context.Context, from, to string) error {
	if from == "-" {
		if isTerminal(p.in) {
			return usage("mesita cp: - is a tar on standard input, and this is a terminal: as in `tar c . | mesita cp - %s:%s`", p.task, to)
		}
		return p.run(ctx, p.in, io.Discard, unpackAt(to, ""))
	}
	info, err := os.Lstat(from)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return api.Errorf(api.CodeNotFound, "there is no %s here", from)
	case err != nil:
		return err
	}
	_, name := parted(filepath.ToSlash(from))
	dir, name, err := p.remoteTarget(ctx, to, name, info.IsDir())
	if err != nil {
		return err
	}
	r, w := io.Pipe()
	var done *tree.Copied
	packed := make(chan error, 1)
	go func() {
		var err error
		done, err = tree.Pack(w, from, name)
		w.CloseWithError(err)
		packed <- err
	}()
	err = p.run(ctx, r, io.Discard, unpackAt(dir, "0"))
	r.CloseWithError(errors.New("the task's tar takes nothing any more"))
	if failed := <-packed; failed != nil && err == nil {
		err = failed
	}
	return p.copied(ctx, done, err)
}

// unpackAt is a tar that leaves the modes of folders alone that are there, with a mask of
// modes if one is given. A tar whose entries have no folders before them needs the task's.
func unpackAt(dir, mask string) []string {
	return []string{"sh", "-c", unpackScript, "sh", dir, mask}
}

// remoteTarget is the folder in the task that a copy goes to, and its name there.
func (p *copying) remoteTarget(ctx context.Context, to, name string, folder bool) (string, string, error) {
	dir, base := parted(to)
	var said bytes.Buffer
	if err := p.run(ctx, nil, &said, []string{"sh", "-c", whatIs, "sh", to, dir}); err != nil {
		return "", "", err
	}
	switch is := strings.TrimSpace(said.String()); {
	case is == "folder":
		return to, name, nil
	case is == "file" && folder:
		return "", "", api.Errorf(api.CodeConflict, "%s in %s is not a folder", to, p.task)
	case is == "none", is == "new" && strings.HasSuffix(to, "/") && !folder:
		return "", "", api.Errorf(api.CodeNotFound, "there is no folder %s in %s: `mesita exec %s -- mkdir -p %s` makes it", dir, p.task, p.task, dir)
	}
	return dir, base, nil
}

// run has a program run in the task; that it fails is an error, with what it said.
func (p *copying) run(ctx context.Context, in io.Reader, out io.Writer, command []string) error {
	if in == nil {
		in = strings.NewReader("")
	}
	said, program := &saidByTar{}, command[0]
	if slices.Contains(command, unpackScript) {
		program = "tar" // which the script becomes
	}
	code, err := p.cl.Exec(ctx, p.task, client.ExecOptions{Command: command, Stdin: in, Stdout: out, Stderr: said})
	switch {
	case err != nil:
		return err
	case code == 1 && command[0] == "tar" && said.onlyChanges():
		p.progress("the copy is whole, but files were written to meanwhile: %s", printable(said.String()))
		return nil
	case code == 126 || code == 127:
		return api.Errorf(api.CodeFailed, "%s finds no %s that it may run, which a copy needs: %s", p.task, program, printable(said.String()))
	case code != 0:
		return api.Errorf(api.CodeFailed, "%s in %s ended with code %d, the copy is not complete: %s", program, p.task, code, printable(said.String()))
	}
	return nil
}

// copied says how much was copied.
func (p *copying) copied(ctx context.Context, done *tree.Copied, err error) error {
	switch {
	case err != nil && ctx.Err() != nil:
		return api.Errorf(api.CodeFailed, "stopped: the copy is not complete")
	case err != nil:
		return err
	case done.Lefts > 0:
		return api.Errorf(api.CodeFailed, "not copied was what is neither a file, a folder nor a link (%d, the first is %s); all else was", done.Lefts, done.Left)
	}
	p.progress("copied %s, %s", api.Count(done.Files, "file"), api.Bytes(done.Bytes))
	return nil
}
