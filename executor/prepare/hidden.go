package prepare

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/isolation"
)

// hide covers the node's own folders, its keys and other tasks' files among them:
// the task finds there its own folder and its uploaded program, and nothing else.
func (p *Preparer) hide(id string, t *api.Task, s *api.TaskSpec, c *isolation.Confinement) {
	if !p.hides(s) {
		return
	}
	c.Covered = slices.Clone(p.Hidden)
	if s.Dir == "" || s.User == api.TaskUser {
		c.Reached = append(c.Reached, p.Folders.Dir(id))
	}
	if s.Program != "" {
		c.Reached = append(c.Reached, p.Program(s.Program, expand(s.Command, t)[0]))
	}
}

func (p *Preparer) hides(s *api.TaskSpec) bool {
	return s.Confined(api.PartData) && len(p.Hidden) > 0
}

// seen refuses what a user names and the task would not find.
func (p *Preparer) seen(what, path string, s *api.TaskSpec) error {
	if !p.hides(s) {
		return nil
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil //nolint:nilerr // whoever uses it says what is wrong with it
	}
	for _, dir := range p.Hidden {
		if top, err := filepath.EvalSymlinks(dir); err == nil && (real == top || strings.HasPrefix(real, top+"/")) {
			return errorf("%s %s is in %s, the data folder of %s, which tasks do not see: put it elsewhere, or have an admin of the cluster lift that with --unconfined %s",
				what, path, dir, p.root().here(), api.PartData)
		}
	}
	return nil
}
