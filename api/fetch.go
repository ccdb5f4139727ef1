package api

import (
	"encoding/hex"
	"net/url"
	"path"
	"slices"
	"strings"
)

// Fetch is one file that is brought into a task's folder before the task starts, with
// the rights of the task's user: from the web, or from the node's own disk.
type Fetch struct {
	Extra
	URI        string `json:"uri"`                  // http, https, file, or an absolute path; #sha256=HEX at its end says what it has to be
	Executable bool   `json:"executable,omitempty"` // it may be executed, and is not unpacked
	Extract    bool   `json:"extract,omitempty"`    // it is unpacked, if its name says that it is an archive
	Output     string `json:"output,omitempty"`     // its name in the task's folder; "" = the last part of the URI
	Cache      bool   `json:"cache,omitempty"`      // its node keeps a copy for other tasks of the user, from level 12 on
}

// The bounds of what a task has fetched.
const (
	MaxFetches  = 128
	maxURI      = 8 << 10
	maxFetchAll = 32 << 10 // bytes of all URIs together: they reach the fetcher as one variable
)

// ChecksumTag begins the fragment of a URI that says what it has to be.
const ChecksumTag = "sha256="

// Archives are the ends of names of what is unpacked, the longest first.
var archives = []string{".tar.bz2", ".tar.gz", ".tar.xz", ".tbz2", ".txz", ".tar", ".tgz", ".zip", ".gz"}

// Archive is the end of a name that says how it is unpacked; "" = not at all.
func Archive(name string) string {
	for _, end := range archives {
		if strings.HasSuffix(name, end) && name != end {
			return end
		}
	}
	return ""
}

// Parse reads where the file is. The error says nothing that may be secret.
func (f *Fetch) Parse() (*url.URL, error) {
	if strings.HasPrefix(f.URI, "/") {
		return &url.URL{Scheme: "file", Path: f.URI}, nil
	}
	u, err := url.Parse(f.URI)
	switch {
	case err != nil:
		return nil, FieldErrorf("fetch", "%s is not a URI: write http://HOST/PATH, https://HOST/PATH or file:///PATH", f.Shown())
	case u.Scheme == "file" && u.Host != "" && u.Host != "localhost":
		return nil, FieldErrorf("fetch", "%s names a host: files are those of the task's node, so write file:///PATH", f.Shown())
	case u.Scheme == "file" && (!strings.HasPrefix(u.Path, "/") || u.RawQuery != ""):
		return nil, FieldErrorf("fetch", "%s is not an absolute path: write file:///PATH", f.Shown())
	case u.Scheme == "file":
		return u, nil
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, FieldErrorf("fetch", "%s cannot be fetched: http, https and file can, and an absolute path of the node", f.Shown())
	case u.Host == "":
		return nil, FieldErrorf("fetch", "%s names no host: write %s://HOST/PATH", f.Shown(), u.Scheme)
	}
	return u, nil
}

// Shown is the URI without what may be secret in it: who asks, and with what.
func (f *Fetch) Shown() string {
	s, _, _ := strings.Cut(f.URI, "#")
	if !strings.HasPrefix(s, "/") {
		s, _, _ = strings.Cut(s, "?")
		if scheme, rest, ok := strings.Cut(s, "://"); ok {
			host, _, _ := strings.Cut(rest, "/")
			s = scheme + "://" + rest[strings.LastIndexByte(host, '@')+1:]
		}
	}
	if len(s) > 200 {
		s = s[:200] + "…"
	}
	return strings.ToValidUTF8(s, "�")
}

// Name is what the file is called in the task's folder, as path/filepath has it.
func (f *Fetch) Name() string {
	if f.Output != "" {
		return path.Clean(f.Output)
	}
	u, err := f.Parse()
	if err != nil {
		return ""
	}
	name := u.Path
	if u.Scheme != "file" {
		name = u.EscapedPath()
	}
	return path.Base(name)
}

// Checksum is the SHA-256 that the file has to have, nil if the URI does not say.
func (f *Fetch) Checksum() []byte {
	if strings.HasPrefix(f.URI, "/") {
		return nil
	}
	_, fragment, _ := strings.Cut(f.URI, "#")
	digits, ok := strings.CutPrefix(fragment, ChecksumTag)
	if sum, err := hex.DecodeString(digits); ok && err == nil {
		return sum
	}
	return nil
}

// Keeps reports whether the node keeps a copy of it: a file of the node itself is there
// anyway.
func (f *Fetch) Keeps() bool {
	u, err := f.Parse()
	return f.Cache && err == nil && u.Scheme != "file"
}

func (t *TaskSpec) validateFetches() error {
	if len(t.Fetch) > MaxFetches {
		return FieldErrorf("fetch", "has %d entries, at most %d are allowed: pack them into an archive", len(t.Fetch), MaxFetches)
	}
	all := 0
	var names []string
	for i := range t.Fetch {
		f := &t.Fetch[i]
		if err := f.validate(); err != nil {
			return err
		}
		if all += len(f.URI) + len(f.Output); all > maxFetchAll {
			return FieldErrorf("fetch", "has URIs of more than %d bytes together: pack the files into an archive", maxFetchAll)
		}
		if slices.Contains(names, f.Name()) {
			return FieldErrorf("fetch", "%q is the name of two files: give one of them another with an output file", f.Name())
		}
		names = append(names, f.Name())
	}
	return nil
}

func (f *Fetch) validate() error {
	u, err := f.Parse()
	if err != nil {
		return err
	}
	name := f.Name()
	switch {
	case len(f.URI) > maxURI:
		return FieldErrorf("fetch", "%s is a URI of %d bytes, at most %d are allowed", f.Shown(), len(f.URI), maxURI)
	case strings.ContainsAny(f.URI+f.Output, "\x00\n\r"):
		return FieldErrorf("fetch", "%s has a control character", f.Shown())
	case u.Fragment != "" && len(f.Checksum()) != 32 && strings.HasPrefix(u.Fragment, ChecksumTag):
		return FieldErrorf("fetch", "%s ends in #%s and not in 64 hex digits", f.Shown(), ChecksumTag)
	case f.Output == "" && (name == "." || name == "/" || strings.HasSuffix(u.Path, "/")):
		return FieldErrorf("fetch", "%s ends in no file name: give it one with an output file", f.Shown())
	case name == "." || name == ".." || path.IsAbs(name) || strings.HasPrefix(name, "../") || strings.HasSuffix(f.Output, "/"):
		return FieldErrorf("fetch", "%q is not a name in the task's folder: write app.tar.gz or lib/app.tar.gz", f.Output)
	case len(name) > maxFileName:
		return FieldErrorf("fetch", "%.32q… has a name of %d bytes, at most %d are allowed", name, len(name), maxFileName)
	case strings.HasPrefix(name, ownNames) || strings.Contains(name, "/"+ownNames):
		return FieldErrorf("fetch", "%q is a name that mesita itself uses: give it another", name)
	}
	return nil
}
