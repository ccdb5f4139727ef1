package process

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// A mount that the machine has no more when a process starts is nothing to protect,
// whether its folder is there or not; all others are protected.
func TestMountsThatAreGone(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounts need root")
	}
	st := &Starter{ProcRoot: "/proc", Log: slog.New(slog.DiscardHandler)}
	c := Spec{Program: Program{Path: "/bin/sh", Args: []string{"sh", "-c", "grep -q ' /sys ro,' /proc/self/mounts || grep -q ' /sys sysfs ro,' /proc/self/mounts"}, Env: []string{"PATH=/usr/bin:/bin"}, Dir: "/"},
		Confinement: Confinement{PrivatePIDs: true, PrivateMounts: true, ReadOnlySystem: true}}
	missing := []string{filepath.Join(t.TempDir(), "none"), t.TempDir()}
	for range 100 {
		points, err := st.trees.list("/proc")
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(points, missing[0]) {
			st.trees.points = append(missing, points...)
		}
		b, err := st.Begin(Place{}, c, Files{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		p, err := b.Wait()
		if err != nil {
			t.Fatal(err)
		}
		if e, err := p.Wait(); err != nil || e != (Exit{}) {
			t.Fatalf("%+v, %v", e, err)
		}
		if slices.Contains(st.trees.points, missing[0]) {
			return // the machine's mounts did not change meanwhile
		}
	}
	t.Error("the machine's mounts change all the time: nothing is shown")
}
