package gossip

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestMetaIsChecked(t *testing.T) {
	good := Meta{ID: strings.Repeat("a", 64), Name: strings.Repeat("b", 63), Addr: "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff%verylongzone0]:65535",
		Version: strings.Repeat("9", 64), Voter: true, VoterOnly: true, Leaving: true, Boot: 1<<64 - 1,
		Level: 99, Cluster: 99, Hold: true, Starts: 1 << 40, Term: 1 << 40, LastTerm: 1 << 40, LastIndex: 1<<64 - 1, Ring: 1 << 30}
	data, err := good.encode()
	check(t, err)
	if back, err := decodeMeta(data); err != nil || back != good || len(data) > 512 {
		t.Errorf("%d bytes, %v, %+v", len(data), err, back)
	}
	for want, change := range map[string]func(*Meta){
		"meta id":      func(m *Meta) { m.ID = "A B" },
		"meta name":    func(m *Meta) { m.Name = strings.Repeat("x", 64) },
		"meta addr":    func(m *Meta) { m.Addr = "0.0.0.0:5050" },
		"meta addr \"": func(m *Meta) { m.Addr = "oak:5050" },
		"meta version": func(m *Meta) { m.Version = "1\n2" },
		"meta boot":    func(m *Meta) { m.Boot = 0 },
	} {
		m := good
		change(&m)
		if _, err := m.encode(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	newer := strings.Replace(string(data), "{", `{"z":1,`, 1)
	if _, err := decodeMeta([]byte(newer)); err != nil {
		t.Errorf("a newer version's meta: %v", err)
	}
	if _, err := decodeMeta(append(data, bytes.Repeat([]byte(" "), 600)...)); err == nil {
		t.Error("600 bytes were taken")
	}
}

func FuzzDecodeMeta(f *testing.F) {
	data, err := Meta{ID: "a", Name: "b", Addr: "1.2.3.4:5", Boot: 1}.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decodeMeta(data)
		if err != nil {
			return
		}
		again, err := m.encode()
		if err != nil {
			t.Fatalf("%q decodes but does not encode: %v", data, err)
		}
		if back, err := decodeMeta(again); err != nil || back != m {
			t.Fatalf("%+v came back as %+v, %v", m, back, err)
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"Log":       func(c *Config) { c.Log = nil },
		"ClusterID": func(c *Config) { c.ClusterID = strings.Repeat("x", 256) },
		"Key":       func(c *Config) { c.Key = nil },
		"Meta":      func(c *Config) { c.NodeID = "other" },
		"Profile":   func(c *Config) { c.Profile = 7 },
		"meta addr": func(c *Config) { c.Meta.Addr = "" },
	} {
		meta := metaOf(1, addrOf(1))
		c := Config{NodeID: meta.ID, Name: meta.Name, ClusterID: "pine", Key: testKey, Meta: meta, Log: slog.New(slog.DiscardHandler)}
		change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestAbsentMembersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newEventQueue()
		m := newMembers("self", q.put)
		m.present(Meta{ID: "self", Boot: 1}, EventJoin)
		for i := range maxAbsent + 10 {
			meta := Meta{ID: fmt.Sprintf("n%d", i), Boot: 1}
			m.present(meta, EventJoin)
			time.Sleep(time.Millisecond)
			m.absent(meta)
		}
		if n := len(m.list()); n != maxAbsent+1 {
			t.Errorf("%d members", n)
		}
		if _, ok := m.get("n0"); ok {
			t.Error("the oldest is still there")
		}
		if _, ok := m.get("n1033"); !ok {
			t.Error("the newest is gone")
		}
	})
}

func TestEventsCoalesce(t *testing.T) {
	q := newEventQueue()
	q.put(EventJoin, Member{ID: "a"})
	q.put(EventUpdate, Member{ID: "a", Addr: "x"})
	q.put(EventJoin, Member{ID: "b"})
	q.put(EventFail, Member{ID: "b", State: Failed})
	var got []string
	for {
		e, ok := q.take()
		if !ok {
			break
		}
		got = append(got, e.Type.String()+" "+e.Member.ID+e.Member.Addr)
	}
	if fmt.Sprint(got) != "[join ax fail b]" {
		t.Errorf("%v", got)
	}
}

func TestLogLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		suspects := ""
		b := &logBridge{log: slog.New(slog.NewTextHandler(&out, nil)), suspect: func(id string) { suspects += id }}
		write := func(s string) {
			if n, err := b.Write([]byte(s)); n != len(s) || err != nil {
				t.Errorf("%d, %v", n, err)
			}
		}
		write("[DEBUG] memberlist: Stream connection\n")
		if out.Len() != 0 {
			t.Errorf("not quiet: %s", &out)
		}
		write("[INFO] memberlist: Suspect id-03 has failed, no acks received\n")
		write("[ERR] memberlist: Decrypt packet failed: x\n")
		write("odd\n")
		for _, want := range []string{`level=INFO msg="gossip: Suspect id-03`, `level=WARN msg="gossip: Decrypt`, `level=INFO msg="gossip: odd`} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("no %s in %s", want, &out)
			}
		}
		if suspects != "id-03" {
			t.Errorf("suspects %q", suspects)
		}
		for range 10_000 {
			write("[ERR] memberlist: Decrypt packet failed: x\n")
		}
		if n := strings.Count(out.String(), "\n"); n != logBurst {
			t.Errorf("%d lines", n)
		}
		time.Sleep(logWindow)
		write("[ERR] memberlist: more\n")
		if !strings.Contains(out.String(), "left out\" lines=9983") {
			t.Errorf("silent about silence: %s", out.String()[out.Len()-200:])
		}
	})
}

// A stranger whose packets come each second, from whatever port and with whatever
// in them, is logged once a minute, and keeps nothing else out of the log.
func TestALineOfASender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		b := &logBridge{log: slog.New(slog.NewTextHandler(&out, nil))}
		lines := func() int { return strings.Count(out.String(), "\n") }
		write := func(format string, args ...any) {
			if _, err := fmt.Fprintf(b, format, args...); err != nil {
				t.Error(err)
			}
		}
		for i := range 60 {
			write("[ERR] memberlist: discarding packet with unacceptable label %q: from=10.0.0.9:%d\n", fmt.Sprint("x", i), 4000+i)
			write("[ERR] memberlist: discarding packet with unacceptable label %q: from=[fe80::%d]:5050\n", "x", i%2)
			time.Sleep(time.Second)
		}
		if lines() != 3 {
			t.Errorf("in a minute, of three: %s", &out)
		}
		write("[ERR] memberlist: discarding packet with unacceptable label %q: from=10.0.0.9:5050\n", "y")
		write("[ERR] memberlist: Decrypt packet failed: no key from=10.0.0.9:5050\n")
		write("[ERR] memberlist: Push/Pull with n2 failed: timeout\n")
		if lines() != 6 || !strings.Contains(out.String(), "(and 59 times before)") {
			t.Errorf("%d lines: %s", lines(), &out)
		}
		for i := range 10 * maxSenders {
			write("[ERR] memberlist: Decrypt packet failed: no key from=10.1.%d.%d:5050\n", i/256, i%256)
		}
		if len(b.said) > maxSenders {
			t.Errorf("%d senders are remembered", len(b.said))
		}
		time.Sleep(logAgain)
		write("[ERR] memberlist: Decrypt packet failed: no key from=10.2.0.1:5050\n")
		if len(b.said) != 1 {
			t.Errorf("%d senders are remembered for ever", len(b.said))
		}
	})
}
