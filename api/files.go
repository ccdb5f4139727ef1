package api

import (
	"iter"
	"maps"
	"path"
	"slices"
	"strings"
)

// Bounds of the files of one task, of which each attempt has a copy.
const (
	MaxFiles            = 64
	MaxFilesSize  Bytes = 64 << 20
	maxFileName         = 255
	executableTag       = ":executable"
	ownNames            = ".mesita-" // begins the names of what a node puts into a task's folder, such as its notice
)

// FileValue is what a spec has of a file that was uploaded: "sha256:…", and
// "sha256:…:executable" of one that may be executed.
func FileValue(digest string, executable bool) string {
	if executable {
		return digest + executableTag
	}
	return digest
}

// ParseFile reads that. A value of another form is not one of an uploaded file.
func ParseFile(value string) (digest string, executable, ok bool) {
	digest, executable = strings.CutSuffix(value, executableTag)
	return digest, executable, ValidDigest(digest)
}

// Uploads are the digests of all that a task needs uploaded: its program, then its files
// in the order of their names.
func (t *TaskSpec) Uploads() iter.Seq[string] {
	return func(yield func(string) bool) {
		if t.Program != "" && !yield(t.Program) {
			return
		}
		for _, name := range slices.Sorted(maps.Keys(t.Files)) {
			if digest, _, ok := ParseFile(t.Files[name]); ok && !yield(digest) {
				return
			}
		}
	}
}

// Needs reports whether a task needs what was uploaded under a digest.
func (t *TaskSpec) Needs(digest string) bool {
	for d := range t.Uploads() {
		if d == digest {
			return true
		}
	}
	return false
}

// OwnCommand is the name of the file that a command's first word is, "" if it is none of
// the task's.
func (t *TaskSpec) OwnCommand() string {
	if len(t.Command) == 0 || !strings.Contains(t.Command[0], "/") {
		return ""
	}
	name := path.Clean(t.Command[0])
	if _, ok := t.Files[name]; !ok {
		return ""
	}
	return name
}

func (t *TaskSpec) validateFiles() error {
	if len(t.Files) > MaxFiles {
		return FieldErrorf("files", "has %d entries, at most %d are allowed: pack them into an archive", len(t.Files), MaxFiles)
	}
	if len(t.Files) > 0 && t.Dir != "" {
		return FieldErrorf("files", "are put into the task's own folder, and dir asks for another: leave one of them out")
	}
	for name, value := range t.Files {
		switch {
		case name == "" || path.Clean(name) != name || path.IsAbs(name) || name == "." || name == ".." || strings.HasPrefix(name, "../") || strings.ContainsRune(name, 0):
			return FieldErrorf("files", "%q is not a name in the task's folder: write app.conf or etc/app.conf", name)
		case strings.HasPrefix(name, ownNames) || strings.Contains(name, "/"+ownNames):
			return FieldErrorf("files", "%q is a name that mesita itself uses: give it another", name)
		case len(name) > maxFileName:
			return FieldErrorf("files", "%.32q… has a name of %d bytes, at most %d are allowed", name, len(name), maxFileName)
		case value == "":
			return FieldErrorf("files."+name, "is empty: name a file of this machine, such as ./%s", path.Base(name))
		case len(value) > maxPath:
			return FieldErrorf("files."+name, "is a path of %d bytes, at most %d are allowed", len(value), maxPath)
		}
		for up := path.Dir(name); up != "."; up = path.Dir(up) {
			if _, ok := t.Files[up]; ok {
				return FieldErrorf("files", "%q is a file, and the folder of %q: give one of them another name", up, name)
			}
		}
	}
	if own := t.OwnCommand(); own != "" && t.Program != "" {
		return FieldErrorf("program", "is given, and the first word of command is the file %q: leave one of them out", own)
	}
	return nil
}

// CheckUploaded refuses what a client should have uploaded and did not.
func (t *TaskSpec) CheckUploaded() error {
	if t.Program != "" && !ValidDigest(t.Program) {
		return FieldErrorf("program", "%.64q is not a digest: sha256: and 64 hex digits", t.Program)
	}
	for name, value := range t.Files {
		if _, _, ok := ParseFile(value); !ok {
			return FieldErrorf("files."+name, "%.64q is not the digest of an uploaded file: the command mesita uploads it; else PUT /v1/blobs/DIGEST, and give sha256:… here, with %s behind it if it may be executed", value, executableTag)
		}
	}
	if own := t.OwnCommand(); own != "" {
		if _, executable, _ := ParseFile(t.Files[own]); !executable {
			return FieldErrorf("command", "%s is one of files, and not executable: chmod +x it, or name what runs it: [sh, %s]", t.Command[0], own)
		}
	}
	return nil
}
