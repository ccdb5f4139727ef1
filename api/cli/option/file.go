package option

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mesita/mesita/api"
)

// ReadFile is what is in the file that a flag names: at most so many bytes, as
// /dev/zero has no end.
func ReadFile(flag, path string, most api.Bytes) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, Unreadable(flag, path, err)
	}
	defer f.Close()
	return ReadFrom(f, flag, path, most)
}

// Unreadable says of a file that a flag names why it cannot be read.
func Unreadable(flag, path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return missingFile(flag, path)
	}
	return api.FieldErrorf(flag, "%v", err)
}

// missingFile names a file that is there and has almost that name, else where it was
// looked for.
func missingFile(flag, path string) error {
	folder := filepath.Dir(path)
	entries, err := os.ReadDir(folder)
	if err != nil {
		return api.FieldErrorf(flag, "there is no %s: its folder cannot be read: %v", path, errors.Unwrap(err))
	}
	var names []string
	for _, e := range entries[:min(len(entries), 1000)] {
		names = append(names, e.Name())
	}
	if near := api.Nearest(filepath.Base(path), names); near != "" {
		return api.FieldErrorf(flag, "there is no %s: did you mean %s?", path, filepath.Join(folder, near))
	}
	if whole, err := filepath.Abs(folder); err == nil {
		folder = whole
	}
	return api.FieldErrorf(flag, "there is no file %s in %s: give its path from where you are, or the whole one", filepath.Base(path), folder)
}

// ReadFrom is what is left in an open file.
func ReadFrom(r io.Reader, flag, path string, most api.Bytes) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, int64(most)+1))
	switch {
	case err != nil:
		return nil, api.FieldErrorf(flag, "%v", err)
	case len(b) > int(most):
		return nil, api.FieldErrorf(flag, "%s has more than %s", path, most)
	}
	return b, nil
}

// MaxSecret bounds a file with a token or certificates.
const MaxSecret api.Bytes = 1 << 20
