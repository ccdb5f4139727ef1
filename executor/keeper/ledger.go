package keeper

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/mesita/mesita/executor/sealed"
)

// ledger is the keeper's memory on disk: what was started, how it ended, and
// what the daemon has taken note of. It is written without waiting for the
// disk, since it has to outlive processes and not the machine: after a reboot
// nothing runs anyway.
type ledger struct {
	path string
	file *os.File
	size int64               // of the whole lines in it
	live map[string]struct{} // ids in it
	dead int                 // lines of no more use
}

// line is one line of the ledger.
type line struct {
	Start  *Status `json:"start,omitempty"`
	End    *Status `json:"end,omitempty"`
	Forget string  `json:"forget,omitempty"`
}

func (v line) encode() ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	b, _ = sealed.Add(b)
	return append(b, '\n'), nil
}

// parseLine reads a line without its end. It fails for one that was torn by a
// power cut, or is damaged.
func parseLine(b []byte) (v line, err error) {
	if _, _, err := sealed.Check(b); err != nil {
		return v, err
	}
	err = json.Unmarshal(b, &v)
	return v, err
}

// openLedger reads the ledger in dir. What was started and has no end is Lost:
// only a keeper that died leaves such.
func openLedger(dir string) (*ledger, []Status, error) {
	l := &ledger{path: filepath.Join(dir, ledgerFile), live: map[string]struct{}{}}
	all, _, err := readLedger(dir) // of a damaged line the task is Lost, or was forgotten
	if err != nil {
		return nil, nil, err
	}
	for i := range all {
		if all[i].State != Ended {
			all[i].State = Lost
		}
	}
	return l, all, l.rewrite(all)
}

// readLedger reads the ledger in dir, which a keeper may be writing, and tells
// whether a line of it is damaged. One that is not there is empty.
func readLedger(dir string) (all []Status, damaged bool, err error) {
	path := filepath.Join(dir, ledgerFile)
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, false, fmt.Errorf("read the keeper's ledger: %w", err)
	}
	b = b[:bytes.LastIndexByte(b, '\n')+1] // one that is being written, or was torn by a power cut, is none
	known := map[string]Status{}
	sc := bufio.NewScanner(bytes.NewReader(b))
	sc.Buffer(nil, maxMessage)
	for sc.Scan() {
		v, err := parseLine(sc.Bytes())
		switch {
		case err != nil:
			damaged = true
		case v.Start != nil:
			known[v.Start.ID] = *v.Start
		case v.End != nil:
			known[v.End.ID] = *v.End
		case v.Forget != "":
			delete(known, v.Forget)
		}
	}
	if err := sc.Err(); err != nil {
		return nil, false, fmt.Errorf("read the keeper's ledger %s: %w", path, err)
	}
	return slices.Collect(maps.Values(known)), damaged, nil
}

// rewrite makes the ledger hold just these.
func (l *ledger) rewrite(all []Status) error {
	var b []byte
	clear(l.live)
	for _, s := range all {
		v := line{End: &s}
		if s.State == Starting || s.State == Running {
			v = line{Start: &s}
		}
		t, err := v.encode()
		if err != nil {
			return err
		}
		b = append(b, t...)
		l.live[s.ID] = struct{}{}
	}
	tmp := l.path + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return fmt.Errorf("write the keeper's ledger: %w", err)
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("write the keeper's ledger: %w", err)
	}
	if err := os.Rename(tmp, l.path); err != nil {
		return errors.Join(fmt.Errorf("write the keeper's ledger: %w", err), f.Close())
	}
	if l.file != nil {
		l.file.Close()
	}
	l.file, l.size, l.dead = f, int64(len(b)), 0
	return nil
}

// add writes a line whole or not at all: what is written after a part of one is
// lost with it, and no other keeper trusts a ledger that is damaged.
func (l *ledger) add(v line) error {
	b, err := v.encode()
	if err != nil {
		return err
	}
	if n, err := l.file.Write(b); err != nil {
		if n > 0 {
			err = errors.Join(err, l.file.Truncate(l.size))
		}
		return err
	}
	l.size += int64(len(b))
	return nil
}

func (l *ledger) start(s Status) error {
	err := l.add(line{Start: &s})
	if err == nil {
		l.live[s.ID] = struct{}{}
	}
	return err
}

func (l *ledger) end(s Status) error {
	l.dead++
	return l.add(line{End: &s})
}

// forget is written last of an attempt; what is left then is of no use.
func (l *ledger) forget(id string) error {
	if _, ok := l.live[id]; !ok {
		return nil
	}
	delete(l.live, id)
	l.dead += 2
	return l.add(line{Forget: id})
}

// bloated tells whether a rewrite pays.
func (l *ledger) bloated() bool { return l.dead > 4096 && l.dead > 2*len(l.live) }

func (l *ledger) close() error { return l.file.Close() }
