// Package boltfile looks at all of a bbolt file before bbolt does, which trusts
// the bytes that it maps: a length that is damaged takes it out of the file, in a
// goroutine of its own, and the program crashes. It owns the layout of such a
// file; it does not own what the keys and values mean, nor what to do about
// damage. The log of Raft and the executor's journal are looked at with it.
package boltfile

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"
)

// DamageError says that a file is there and is not what was written.
type DamageError struct{ Cause error }

func (e *DamageError) Error() string { return e.Cause.Error() }
func (e *DamageError) Unwrap() error { return e.Cause }

// Look maps the file at path and has look read it, under bbolt's lock, for which
// it waits as long as that. What look finds wrong, and what does not lie as it
// should, comes back as a *DamageError. A file that is not there, or has no bytes
// yet, is new, and look is not called.
func Look(path string, wait time.Duration, look func(*File) error) (err error) {
	if info, err := os.Stat(path); errors.Is(err, os.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // a file cut short faults
	defer func() {
		if r := recover(); r != nil {
			err = &DamageError{fmt.Errorf("%v", r)}
		}
	}()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: wait}) // which locks it, and looks at no page but the first
	switch {
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return &DamageError{err}
	case err != nil:
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Munmap(b)) }()
	file, err := openPages(b, db.Info().PageSize)
	if err == nil {
		err = look(file)
	}
	if err != nil {
		return &DamageError{err}
	}
	return nil
}
