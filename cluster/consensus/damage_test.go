package consensus

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/consensus/disk"
)

// bbolt panics on damaged pages in a goroutine of its own: this test would not
// fail but crash if the log were not looked at before.
func TestEveryDamagedPageIsNamed(t *testing.T) {
	src := t.TempDir()
	m := single(t, src, nil)
	m.must(t, initCluster())
	for i := range 60 {
		m.must(t, createJob(fmt.Sprint("j", i)))
	}
	if err := m.end(); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(filepath.Join(src, "raft.db"))
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	page := int64(os.Getpagesize())
	for at := int64(0); at < st.Size(); at += page {
		dir := filepath.Join(t.TempDir(), "raft")
		if err := copyDir(src, dir); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(filepath.Join(dir, "raft.db"), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteAt(bytes.Repeat([]byte{0xa5}, int(page)), at)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		bolt, err := disk.OpenLog(filepath.Join(dir, disk.LogName), 0)
		if err == nil { // a free page, or one of the two heads
			if err := bolt.Close(); err != nil {
				t.Error(err)
			}
			continue
		}
		if named++; api.ErrorCode(err) != api.CodeFailed || !strings.Contains(err.Error(), "raft.db") {
			t.Errorf("page %d: %v", at/page, err)
		}
	}
	if named == 0 {
		t.Error("no damage was found")
	}
}
