package doctor

import (
	"context"
	"crypto/x509"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"golang.org/x/sys/unix"
)

// What works is ok, what may not for long is warned of, and all else fails; whatever is
// not ok has a remedy.
func TestVerdicts(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	until := func(d time.Duration) *x509.Certificate { return &x509.Certificate{NotAfter: now.Add(d)} }
	const gib = 1 << 30
	for name, c := range map[string]struct {
		check api.Check
		want  api.Condition
		found string
	}{
		"fast":      {judgeDisk("/d", 2*time.Millisecond, nil), api.CheckOK, "2.0 ms (/d)"},
		"slow":      {judgeDisk("/d", 20*time.Millisecond, nil), api.CheckWarn, "20.0 ms"},
		"very slow": {judgeDisk("/d", time.Second, nil), api.CheckFail, "1000.0 ms"},
		"full":      {judgeDisk("/d", 0, &os.PathError{Op: "write", Path: "/d/x", Err: unix.ENOSPC}), api.CheckFail, "is full"},
		"broken":    {judgeDisk("/d", 0, unix.EIO), api.CheckFail, "cannot be written"},
		"room":      {judgeSpace(50*gib, 100*gib), api.CheckOK, "50GiB of 100GiB"},
		"little":    {judgeSpace(9*gib, 100*gib), api.CheckWarn, "9GiB of 100GiB"},
		"none":      {judgeSpace(1<<20, 100*gib), api.CheckFail, "1MiB of 100GiB"},
		"good":      {Certificate(until(30*24*time.Hour), now), api.CheckOK, "good until 2026-05-31"},
		"ends":      {Certificate(until(13*24*time.Hour), now), api.CheckWarn, "2026-05-14"},
		"expired":   {Certificate(until(0), now), api.CheckFail, "expired on 2026-05-01"},
	} {
		if c.check.State != c.want || !strings.Contains(c.check.Found, c.found) || (c.check.Fix == "") != (c.want == api.CheckOK) {
			t.Errorf("%s: %+v", name, c.check)
		}
	}
}

// A look at a disk leaves nothing on it, and ends when it is to.
func TestALookLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	if c := Disk(t.Context(), dir); !strings.Contains(c.Found, dir) {
		t.Errorf("%+v", c)
	}
	if c := Disk(t.Context(), dir+"/none"); c.State != api.CheckFail {
		t.Errorf("a folder that is not there: %+v", c)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if c := Disk(ctx, dir); c.State == "" {
		t.Errorf("%+v", c)
	}
}
