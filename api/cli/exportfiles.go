package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/specfile"
	"github.com/mesita/mesita/api/client"
)

// This file writes what export prints into a folder, with what its jobs had uploaded:
// another cluster has none of that.

// exportFolder is a folder that is made, and of which apply takes all that is in it.
type exportFolder struct {
	dir string
	cl  *client.Client
}

// write makes the folder with all that is to be in it, or leaves what was there.
func (x exportFolder) write(ctx context.Context, docs []exportDoc) (err error) {
	all, err := os.ReadDir(x.dir)
	if err == nil && len(all) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return api.FieldErrorf("with-programs", "%s is there and not an empty folder: name one that is not there yet", x.dir)
	}
	above := filepath.Dir(filepath.Clean(x.dir))
	if err := os.MkdirAll(above, 0o755); err != nil {
		return api.FieldErrorf("with-programs", "%v", err)
	}
	// Beside it, so that it gets its name once it is whole: a kill leaves none of that name.
	whole := x
	if whole.dir, err = os.MkdirTemp(above, "."+filepath.Base(x.dir)+"-"); err != nil {
		return api.FieldErrorf("with-programs", "%v", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(whole.dir))
		}
	}()
	if err := whole.fill(ctx, docs); err != nil {
		return err
	}
	if err := os.Chmod(whole.dir, 0o755); err != nil {
		return err
	}
	if err := os.Remove(x.dir); err != nil && !errors.Is(err, fs.ErrNotExist) { // an empty one; not all systems rename over that
		return api.FieldErrorf("with-programs", "%v", err)
	}
	if err := os.Rename(whole.dir, x.dir); err != nil {
		return api.FieldErrorf("with-programs", "%v", err)
	}
	return nil
}

// fill writes each job into a file of its own, and what it had uploaded into a folder
// beside it of the same name. Partitions are in a file that apply reads before.
func (x exportFolder) fill(ctx context.Context, docs []exportDoc) error {
	for _, d := range docs {
		s, ok := d.noun.(*api.JobSpec)
		if !ok {
			if err := x.document("_partitions.yaml", d); err != nil {
				return err
			}
			continue
		}
		out, err := x.uploads(ctx, s, d.name)
		if err != nil {
			return api.InField(d.name, err)
		}
		d.noun, d.notes = out, nil
		if err := x.document(d.name+".yaml", d); err != nil {
			return err
		}
	}
	return nil
}

// uploads is a spec that names files in the folder in place of digests.
func (x exportFolder) uploads(ctx context.Context, s *api.JobSpec, name string) (*api.JobSpec, error) {
	out := *s
	if s.Program != "" {
		out.Program = path.Join(name, "program", path.Base("/"+s.Command[0]))
		if err := x.download(ctx, s.Program, out.Program, 0o755); err != nil {
			return nil, err
		}
	}
	out.Files = maps.Clone(s.Files)
	for _, of := range slices.Sorted(maps.Keys(s.Files)) {
		digest, executable, _ := api.ParseFile(s.Files[of])
		mode := fs.FileMode(0o600)
		if executable {
			mode = 0o700
		}
		out.Files[of] = path.Join(name, "files", of)
		if err := x.download(ctx, digest, out.Files[of], mode); err != nil {
			return nil, err
		}
	}
	return &out, nil
}

// download writes an upload to a file that is not there yet. The names of a job are
// names in a folder, as the cluster checked.
func (x exportFolder) download(ctx context.Context, digest, path string, mode fs.FileMode) error {
	if !filepath.IsLocal(path) {
		return fmt.Errorf("%s is not in the folder that is written", path)
	}
	at := filepath.Join(x.dir, path)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(at, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	return errors.Join(x.cl.Download(ctx, digest, f), f.Close())
}

func (x exportFolder) document(name string, d exportDoc) error {
	f, err := os.OpenFile(filepath.Join(x.dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) // its environment may hold secrets
	if err != nil {
		return err
	}
	if _, err = f.WriteString("---\n"); err == nil {
		err = specfile.PrintNoted(f, d.noun, d.head, d.notes)
	}
	return errors.Join(err, f.Close())
}
