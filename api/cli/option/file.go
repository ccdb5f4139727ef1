package option

import (
	"io"
	"os"

	"github.com/mesita/mesita/api"
)

// ReadFile is what is in the file that a flag names: at most so many bytes, as
// /dev/zero has no end.
func ReadFile(flag, path string, most api.Bytes) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, api.FieldErrorf(flag, "%v", err)
	}
	defer f.Close()
	return ReadFrom(f, flag, path, most)
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
