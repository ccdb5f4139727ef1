package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/api/cli/specfile"
	"github.com/urfave/cli/v2"
)

// This file reads the documents that apply and diff are given.

// readFiles reads all files that are named, by flags and without.
func (a *app) readFiles(c *cli.Context, verb string) (*specfile.Docs, error) {
	named := append(c.StringSlice("file"), c.Args().Slice()...)
	if len(named) == 0 {
		return nil, usage("mesita %s FILE…: FILE is missing: name a file, a folder, or - for standard input; see --help", verb)
	}
	vars, err := option.Vars(c)
	if err != nil {
		return nil, err
	}
	docs, read := &specfile.Docs{Vars: vars, ReadEnv: option.EnvFile}, map[string]bool{}
	for _, source := range named {
		files, err := filesAt(source)
		if err != nil {
			return nil, err
		}
		before := len(docs.Jobs) + len(docs.Partitions)
		for _, path := range files {
			var b []byte
			if path == "-" {
				path = specfile.Stdin
				b, err = option.ReadFrom(a.in, "file", path, specfile.MaxSize)
			} else {
				b, err = option.ReadFile("file", path, specfile.MaxSize)
			}
			if err != nil {
				return nil, err
			}
			if err := docs.Add(path, b); err != nil {
				return nil, err
			}
			read[realPath(path)] = true
		}
		if c.Bool("prune") && len(docs.Jobs)+len(docs.Partitions) == before {
			return nil, api.FieldErrorf("file", "%s holds no job and no partition, and with --prune the jobs that it named before would be stopped: leave it out if that is meant", source)
		}
	}
	if docs.Unfilled != "" {
		a.progress("! %s is left as it is: --var NAME=VALUE gives it a value, and then $${…} is what stays ${…}", docs.Unfilled)
	}
	last := named[len(named)-1]
	if last == "-" {
		last = specfile.Stdin
	}
	if err := docs.Some(last); err != nil || !c.Bool("prune") {
		return docs, err
	}
	return docs, allNamed(docs, named, read)
}

// allNamed refuses to prune what is only not named because not all was read.
func allNamed(docs *specfile.Docs, named []string, read map[string]bool) error {
	if len(docs.Jobs) == 0 {
		return api.FieldErrorf("file", "no file names a job, so --prune would stop every job with the label: name files that hold jobs, or stop them by name with `mesita stop`")
	}
	visited := map[string]bool{}
	for _, path := range named {
		info, err := os.Stat(path)
		if path == "-" || err != nil || !info.IsDir() {
			continue // it was read already, as one file
		}
		left, err := unread(path, read, visited)
		if err != nil {
			return api.FieldErrorf("file", "whether --prune would stop jobs that files in folders of %s name cannot be said: %v", path, err)
		}
		if left != "" {
			return api.FieldErrorf("file", "%s was not read, as of a folder only the files right in it are: --prune would stop the jobs that it names. Name its folder too (mesita apply %s %s …), or move it out of %[2]s", left, path, filepath.Dir(left))
		}
	}
	return nil
}

// unread is the first file of documents in a folder, or in one below it, that was not
// read; "" = there is none. Folders with a dot before their names are not looked into:
// .git and the like are there without being meant.
func unread(folder string, read, visited map[string]bool) (string, error) {
	if at := realPath(folder); visited[at] {
		return "", nil
	} else {
		visited[at] = true
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		path, left := filepath.Join(folder, e.Name()), ""
		info, err := os.Stat(path) // of what a link leads to
		switch {
		case errors.Is(err, fs.ErrNotExist): // a link that leads nowhere
		case err != nil:
			return "", err
		case info.IsDir() && !strings.HasPrefix(e.Name(), "."):
			left, err = unread(path, read, visited)
		case !info.IsDir() && slices.Contains(suffixes, filepath.Ext(path)) && !read[realPath(path)]:
			left = path
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) || left != "" {
			return left, err
		}
	}
	return "", nil
}

// realPath is a path by which a file is known whatever way leads to it.
func realPath(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if at, err := filepath.EvalSymlinks(path); err == nil {
		path = at
	}
	return path
}

// suffixes are those of files that are read of a folder.
var suffixes = []string{".yaml", ".yml"}

// filesAt is the file of that name, or those right in the folder.
func filesAt(path string) ([]string, error) {
	info, err := os.Stat(path)
	if path == "-" || err != nil || !info.IsDir() {
		return []string{path}, nil // if it is not there, to read it says so
	}
	var out []string
	for _, suffix := range suffixes {
		found, err := filepath.Glob(filepath.Join(escaped(path), "*"+suffix))
		if err != nil {
			return nil, api.FieldErrorf("file", "%v", err)
		}
		out = append(out, found...)
	}
	if len(out) == 0 {
		return nil, api.FieldErrorf("file", "%s holds no file *.yaml or *.yml: those in its folders are left out, name them by themselves", path)
	}
	slices.Sort(out)
	return out, nil
}

// escaped is a path in which no character stands for others.
func escaped(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}
