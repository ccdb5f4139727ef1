package prepare

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/isolation"
)

const tempPath = isolation.TemporaryFolder

// HiddenFolders are those which tasks are not to see: the ones given, and those
// elsewhere to which links in them lead, as to another disk. It says which such
// links lead to what cannot be hidden.
func HiddenFolders(dirs ...string) (hidden, seen []string, err error) {
	var reals []string
	covers := func(real string) bool {
		return slices.ContainsFunc(reals, func(h string) bool { return within(real, h) })
	}
	for _, dir := range dirs {
		real, err := filepath.EvalSymlinks(dir)
		if errors.Is(err, os.ErrNotExist) { // it will be made
			real, err = dir, nil
		}
		if err != nil {
			return nil, nil, fmt.Errorf("find what tasks are not to see: %w", err)
		}
		if !covers(real) {
			hidden, reals = append(hidden, dir), append(reals, real)
		}
	}
	tops := reals
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, nil, fmt.Errorf("find what tasks are not to see: %w", err)
		}
		for _, entry := range entries {
			link := filepath.Join(dir, entry.Name())
			real, err := filepath.EvalSymlinks(link)
			if entry.Type() != os.ModeSymlink || err != nil || covers(real) {
				continue // one that leads nowhere hides nothing
			}
			fi, err := os.Stat(real)
			if err != nil || !fi.IsDir() || slices.ContainsFunc(tops, func(h string) bool { return within(h, real) }) {
				seen = append(seen, link)
				continue
			}
			hidden, reals = append(hidden, real), append(reals, real)
		}
	}
	return hidden, seen, nil
}

// within reports whether a path is a folder or in it.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// hide covers the node's own folders, its keys and other tasks' files among them:
// the task finds there its own folder and its uploaded program, and nothing else;
// and nothing in /tmp and /dev/shm but what it names itself, or lifts.
func (p *Preparer) hide(id string, t *api.Task, s *api.TaskSpec, c *isolation.Confinement) {
	c.PrivateMemory = s.Confined(api.PartTmp)
	if p.hides(s) {
		c.Covered = slices.Clone(p.Hidden)
	}
	reach := func(path string) {
		if p.hides(s) || inTemp(path, s) {
			c.Reached = append(c.Reached, path)
		}
	}
	if !s.Confined(api.PartData) {
		for _, dir := range p.Hidden {
			reach(dir)
		}
	}
	if s.Dir == "" || s.User == api.TaskUser {
		reach(p.Folders.Dir(id))
	}
	for i := range s.Volumes {
		if p.Volumes != nil {
			reach(p.Volumes.Dir(s.Volumes[i].Folder))
		}
	}
	if s.Program != "" {
		reach(p.Program(s.Program, expand(s.Command, t)[0]))
	}
	if s.Dir != "" && inTemp(s.Dir, s) {
		c.Named = append(c.Named, filepath.Clean(s.Dir)+"/")
	}
}

func (p *Preparer) hides(s *api.TaskSpec) bool {
	return s.Confined(api.PartData) && len(p.Hidden) > 0
}

// inTemp reports whether a path is in one of the folders that a task has of its own.
func inTemp(path string, s *api.TaskSpec) bool {
	return s.Confined(api.PartTmp) && ownFolder(path) != ""
}

// ownFolder is the folder that a path is in of those that a task may have of its
// own; "" if it is in none.
func ownFolder(path string) string {
	path = filepath.Clean(path)
	for _, dir := range []string{tempPath, isolation.SharedMemory} {
		if strings.HasPrefix(path, dir+"/") && isolation.MayReplace(dir) {
			return dir
		}
	}
	return ""
}

// seen refuses what a user names and the task would not find.
func (p *Preparer) seen(what, path string, s *api.TaskSpec) error {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil //nolint:nilerr // whoever uses it says what is wrong with it
	}
	if p.hides(s) {
		for _, dir := range p.Hidden {
			if top, err := filepath.EvalSymlinks(dir); err == nil && within(real, top) {
				return errorf("%s %s is in %s, the data folder of %s, which tasks do not see: put it elsewhere, or have an admin of the cluster lift that with --unconfined %s",
					what, path, dir, p.root().here(), api.PartData)
			}
		}
	}
	if (inTemp(path, s) || inTemp(real, s)) && filepath.Clean(path) != real {
		return errorf("%s %s leads to %s by a symbolic link, and a task has a %s and %s of its own, where links do not lead: name %s itself, put it elsewhere, or have an admin of the cluster lift that with --unconfined %s",
			what, path, real, tempPath, isolation.SharedMemory, real, api.PartTmp)
	}
	return nil
}
