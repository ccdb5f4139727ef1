package process

import (
	"testing"

	"golang.org/x/sys/unix"
)

// A filter that the kernel would refuse is refused before, in words.
func TestWhoMayFilter(t *testing.T) {
	all := capabilities{permitted: 1 << unix.CAP_SYS_ADMIN}
	for _, tt := range []struct {
		c   Confinement
		own capabilities
		ok  bool
	}{
		{Confinement{FilterSyscalls: true}, capabilities{}, true},
		{Confinement{AllowNewPrivileges: true}, capabilities{}, true},
		{Confinement{FilterSyscalls: true, AllowNewPrivileges: true}, all, true},
		{Confinement{FilterSyscalls: true, AllowNewPrivileges: true}, capabilities{permitted: ^all.permitted}, false},
	} {
		if err := tt.c.mayFilter(tt.own); (err == nil) != tt.ok {
			t.Errorf("%+v by %x: %v", tt.c, tt.own.permitted, err)
		}
	}
}
