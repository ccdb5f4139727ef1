package auth

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// TestOpenIsForRootAndTheDaemonsUser: who else is on the machine shows a token on
// the listener of `mesita dev`, too.
func TestOpenIsForRootAndTheDaemonsUser(t *testing.T) {
	b, a := newAuth()
	_, secret := b.add(api.TokenRequest{Kind: api.TokenClient, Role: api.RoleViewer})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	got := identifies(t, a, Open, l)
	ask := func(c net.Conn, header ...string) identified {
		t.Helper()
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return c, nil }}}
		r, err := http.NewRequest("GET", "http://"+l.Addr().String()+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return <-got
	}
	own, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if r := ask(own); r.err != nil || r.id != (Identity{Actor: "dev@fir", Local: "dev", Role: api.RoleAdmin}) {
		t.Errorf("the daemon's own user is %+v, %v", r.id, r.err)
	}
	if os.Getuid() != 0 {
		t.Skip("only root can be another user")
	}
	others := dialAs(t, "tcp", l.Addr().String(), 65534, 2)
	if r := ask(others[0]); r.id.Known() || api.ErrorCode(r.err) != api.CodeNotAllowed || !strings.Contains(r.err.Error(), "65534") {
		t.Errorf("another user is %+v, %v", r.id, r.err)
	}
	if r := ask(others[1], "Authorization", "Bearer "+secret); r.err != nil || r.id.Role != api.RoleViewer {
		t.Errorf("another user with a token is %+v, %v", r.id, r.err)
	}
	// Whose connection it is, is not known: nobody's.
	r := withHeader()
	r.Host = "localhost"
	if id, err := a.Identify(r, Open); id.Known() || api.ErrorCode(err) != api.CodeNotAllowed {
		t.Errorf("an unknown caller is %+v, %v", id, err)
	}
}

// A task is nobody by the user that it runs as, also where a process that is none has
// the connection open beside it; it may show a token. Without a process that has it
// open it is nobody's.
func TestOpenIsNotForTasks(t *testing.T) {
	b, a := newAuth()
	_, secret := b.add(api.TokenRequest{Kind: api.TokenClient, Role: api.RoleViewer})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	got := identifies(t, a, Open, l)
	for _, c := range []struct {
		name     string
		confines func(pid int) bool
		header   http.Header
		role     api.Role
		refused  bool
	}{
		{"no task", func(int) bool { return false }, nil, api.RoleAdmin, false},
		{"a task", func(pid int) bool { return pid == os.Getpid() }, nil, api.RoleNone, true},
		{"a task with a token", func(pid int) bool { return pid == os.Getpid() }, http.Header{"Authorization": {"Bearer " + secret}}, api.RoleViewer, false},
		{"another process is a task's", func(pid int) bool { return pid != os.Getpid() }, nil, api.RoleAdmin, false},
	} {
		a.cfg.Confines = c.confines
		r, err := http.NewRequest("GET", "http://"+l.Addr().String()+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = c.header.Clone()
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if is := <-got; is.id.Role != c.role || c.refused != (api.ErrorCode(is.err) == api.CodeNotAllowed && strings.Contains(is.err.Error(), "token create")) {
			t.Errorf("%s is %+v, %v", c.name, is.id, is.err)
		}
	}
	ctx := context.WithValue(t.Context(), tcpKey{}, &tcpPeer{known: true, inode: "none"})
	if !tcpInside(ctx, func(int) bool { return false }) {
		t.Error("a connection that no process has open is somebody's")
	}
}

// Who shows nothing is anybody unless it is a task, whoever runs it, or nobody knows that.
func TestOutsidersAreNoTasks(t *testing.T) {
	b, a := newAuth()
	_, secret := b.add(api.TokenRequest{Kind: api.TokenClient, Role: api.RoleViewer})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	got := identifies(t, a, Outsiders, l)
	mine := func(pid int) bool { return pid == os.Getpid() }
	for _, c := range []struct {
		name     string
		confines func(pid int) bool
		secret   string
		actor    string
	}{
		{"no task", func(int) bool { return false }, "", nobody},
		{"a task", mine, "", ""},
		{"a task with a token", mine, secret, "token:"},
		{"where nobody knows", nil, "", ""},
	} {
		a.cfg.Confines = c.confines
		r, err := http.NewRequest("POST", "http://"+l.Addr().String()+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.secret != "" {
			r.Header.Set("Authorization", "Bearer "+c.secret)
		}
		res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if is := <-got; is.err != nil || is.id.Known() != (c.actor != "") || !strings.HasPrefix(is.id.Actor, c.actor) {
			t.Errorf("%s is %+v, %v", c.name, is.id, is.err)
		}
	}
	if os.Getuid() != 0 {
		t.Skip("only root can be another user")
	}
	for i, c := range dialAs(t, "tcp", l.Addr().String(), 65534, 2) {
		task := i == 1
		a.cfg.Confines = func(int) bool { return task }
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return c, nil }}}
		res, err := client.Get("http://" + l.Addr().String() + "/")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if is := <-got; is.id.Known() == task {
			t.Errorf("of another user, a task: %v, is %+v, %v", task, is.id, is.err)
		}
	}
}

func TestOwnerIn(t *testing.T) {
	const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	row := func(local, remote, uid, inode string) string {
		return "   0: " + local + " " + remote + " 01 00000000:00000000 00:00000000 00000000  " + uid + "        0 " + inode + " 1 0000000000000000 20 4 30 10 -1\n"
	}
	local, remote := netip.MustParseAddrPort("127.0.0.1:4660"), netip.MustParseAddrPort("127.0.0.1:80")
	if !littleEndian {
		t.Skip("the rows are of a little-endian machine")
	}
	for _, c := range []struct {
		name, table string
		uid         uint32
		ok          bool
	}{
		{"there", head + row("0100007F:0050", "0100007F:1234", "0", "8") + row("0100007F:1234", "0100007F:0050", "1000", "9"), 1000, true},
		{"mapped", head + row("0000000000000000FFFF00000100007F:1234", "0000000000000000FFFF00000100007F:0050", "7", "9"), 7, true},
		{"closed by its process", head + row("0100007F:1234", "0100007F:0050", "0", "0"), 0, false},
		{"another port", head + row("0100007F:1235", "0100007F:0050", "0", "9"), 0, false},
		{"to another", head + row("0100007F:1234", "0200007F:0050", "0", "9"), 0, false},
		{"nonsense", head + "x\n" + row("zz:1234", "0100007F:0050", "0", "9") + row("0100007F:1234", "0100007F:0050", "-1", "9"), 0, false},
		{"empty", "", 0, false},
	} {
		if uid, inode, ok := ownerIn(strings.NewReader(c.table), local, remote); uid != c.uid && c.ok || ok != c.ok || ok && inode != "9" {
			t.Errorf("%s: %d, %t", c.name, uid, ok)
		}
	}
	if uid, _, ok := ownerIn(strings.NewReader(head+row("00000000000000000000000001000000:1234", "00000000000000000000000001000000:0050", "5", "9")), netip.MustParseAddrPort("[::1]:4660"), netip.MustParseAddrPort("[::1]:80")); uid != 5 || !ok {
		t.Errorf("IPv6: %d, %t", uid, ok)
	}
}
