package tlsconf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	keyFile  = "node.key"
	certFile = "node.crt"
	caFile   = "ca.crt"

	maxFile = 64 << 10
)

// Files keeps a node's key and certificates in a folder. Every write is whole
// or not done: temporary file, fsync, rename, fsync of the folder.
type Files struct {
	Dir string // must exist
}

// LoadKey reads the node's key. A missing file is fs.ErrNotExist; a damaged
// one, or one that others than its owner may read, is refused by name.
func (f Files) LoadKey() (*NodeKey, error) {
	path := filepath.Join(f.Dir, keyFile)
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("node key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("node key %s may be read by others (mode %04o): run chmod 600 %s", path, info.Mode().Perm(), path)
	}
	data, err := f.read(keyFile)
	if err != nil {
		return nil, fmt.Errorf("node key: %w", err)
	}
	key, err := ParseNodeKey(data)
	if err != nil {
		return nil, fmt.Errorf("node key %s %w", path, err)
	}
	return key, nil
}

// LoadOrMakeKey reads the node's key, or makes and saves one when there is
// none. made says which.
func (f Files) LoadOrMakeKey() (key *NodeKey, made bool, err error) {
	key, err = f.LoadKey()
	if !errors.Is(err, fs.ErrNotExist) {
		return key, false, err
	}
	if key, err = NewNodeKey(); err != nil {
		return nil, false, err
	}
	if err := f.SaveKey(key); err != nil {
		return nil, false, err
	}
	return key, true, nil
}

// SaveKey writes the node's key with mode 0600.
func (f Files) SaveKey(key *NodeKey) error {
	data, err := key.PEM()
	if err != nil {
		return err
	}
	return f.write(keyFile, data, 0o600)
}

// LoadCert reads the node's certificate (PEM); missing is fs.ErrNotExist.
func (f Files) LoadCert() ([]byte, error) { return f.loadPEM(certFile) }

// SaveCert writes the node's certificate.
func (f Files) SaveCert(certPEM []byte) error { return f.savePEM(certFile, certPEM) }

// LoadCA reads the cluster's CA certificate (PEM); missing is fs.ErrNotExist.
func (f Files) LoadCA() ([]byte, error) { return f.loadPEM(caFile) }

// CAPath is the file of it.
func (f Files) CAPath() string { return filepath.Join(f.Dir, caFile) }

// SaveCA writes the cluster's CA certificate.
func (f Files) SaveCA(caPEM []byte) error { return f.savePEM(caFile, caPEM) }

func (f Files) loadPEM(name string) ([]byte, error) {
	data, err := f.read(name)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	if _, err := parseCerts(data); err != nil {
		return nil, fmt.Errorf("certificate %s %w", filepath.Join(f.Dir, name), err)
	}
	return data, nil
}

func (f Files) savePEM(name string, data []byte) error {
	if _, err := parseCerts(data); err != nil {
		return fmt.Errorf("save %s: the new certificate %w", name, err)
	}
	return f.write(name, data, 0o644)
}

func (f Files) read(name string) ([]byte, error) {
	path := filepath.Join(f.Dir, name)
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("%s is not a regular file of at most %d bytes", path, maxFile)
	}
	return os.ReadFile(path)
}

func (f Files) write(name string, data []byte, mode os.FileMode) (err error) {
	path := filepath.Join(f.Dir, name)
	defer func() {
		if err != nil {
			err = fmt.Errorf("save %s: %w", path, err)
		}
	}()
	tmp, err := os.CreateTemp(f.Dir, "."+name+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails, as it should, once renamed
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(f.Dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
