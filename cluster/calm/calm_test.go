package calm

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// pair is both ends of a connection over loopback, the first one still.
func pair(t *testing.T) (*Conn, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	far, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := NewConn(near)
	c.Still()
	if !c.still.Load() {
		t.Fatal("a TCP connection is not a socket")
	}
	t.Cleanup(func() { c.Close(); far.Close() })
	return c, far.(*net.TCPConn)
}

// What is written arrives, however much more it is than the kernel takes at once,
// in both directions at the same time.
func TestConnCarriesAll(t *testing.T) {
	c, far := pair(t)
	sent := make([]byte, 8<<20)
	for i := range sent {
		sent[i] = byte(i * 7 >> 3)
	}
	errs := make(chan error, 3)
	go func() { _, err := c.Write(sent); errs <- err }()
	go func() { _, err := far.Write(sent); errs <- err }()
	there := make([]byte, len(sent))
	go func() { _, err := io.ReadFull(far, there); errs <- err }()
	here := make([]byte, len(sent))
	if _, err := io.ReadFull(c, here); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(here, sent) || !bytes.Equal(there, sent) {
		t.Error("other bytes arrived than were sent")
	}
}

// A still connection fails as any other does.
func TestConnErrors(t *testing.T) {
	b := make([]byte, 8)
	t.Run("end", func(t *testing.T) {
		c, far := pair(t)
		far.CloseWrite()
		if n, err := c.Read(b); n != 0 || err != io.EOF {
			t.Errorf("read %d, %v after the end", n, err)
		}
	})
	t.Run("deadline", func(t *testing.T) {
		c, _ := pair(t)
		c.SetReadDeadline(time.Now().Add(-time.Second))
		_, err := c.Read(b)
		var timeout net.Error
		if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("read past the deadline: %v", err)
		}
	})
	t.Run("a read is ended by a close", func(t *testing.T) {
		c, _ := pair(t)
		ended := make(chan error)
		go func() { _, err := c.Read(b); ended <- err }()
		c.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("read of a closed connection: %v", err)
		}
		if _, err := c.Write(b); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write to a closed connection: %v", err)
		}
	})
	t.Run("reset", func(t *testing.T) {
		c, far := pair(t)
		far.SetLinger(0)
		far.Close()
		if _, err := c.Read(b); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read of a connection that was reset: %v", err)
		}
		var err error
		for err == nil {
			_, err = c.Write(b)
		}
		if !errors.Is(err, syscall.EPIPE) {
			t.Errorf("write to a connection that was reset: %v", err)
		}
	})
}

// What is not a socket is used as it is.
func TestConnOfNoSocket(t *testing.T) {
	a, b := net.Pipe()
	c := NewConn(a)
	c.Still()
	go func() { _, _ = b.Write([]byte("hello")); b.Close() }()
	if got, err := io.ReadAll(c); string(got) != "hello" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
}

// Packets arrive whole, and say who sent them as those of package net do.
func TestPackets(t *testing.T) {
	for _, on := range []struct{ listen, reach string }{{"127.0.0.1:0", "127.0.0.1"}, {"[::1]:0", "::1"}, {"[::]:0", "::1"}, {"[::]:0", "127.0.0.1"}, {"0.0.0.0:0", "127.0.0.1"}} {
		t.Run(on.listen+" at "+on.reach, func(t *testing.T) {
			at, err := net.ResolveUDPAddr("udp", on.listen)
			if err != nil {
				t.Fatal(err)
			}
			udp, err := net.ListenUDP("udp", at)
			if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) {
				t.Skip("this machine has no IPv6")
			}
			if err != nil {
				t.Fatal(err)
			}
			p, err := NewPacketConn(udp)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			far, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: net.ParseIP(on.reach), Port: p.LocalAddr().(*net.UDPAddr).Port})
			if err != nil {
				t.Fatal(err)
			}
			defer far.Close()
			if _, err := far.Write([]byte("are you there?")); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 64)
			n, from, err := p.ReadFrom(b)
			if err != nil || string(b[:n]) != "are you there?" {
				t.Fatalf("read %q, %v", b[:n], err)
			}
			if got, want := from.(*net.UDPAddr).AddrPort(), far.LocalAddr().(*net.UDPAddr).AddrPort(); got.Port() != want.Port() || got.Addr().Unmap() != want.Addr().Unmap() {
				t.Errorf("it came from %v, not %v", want, got)
			}
			if n, err := p.WriteTo([]byte("yes"), from); n != 3 || err != nil {
				t.Fatalf("wrote %d, %v", n, err)
			}
			if n, err := far.Read(b); err != nil || string(b[:n]) != "yes" {
				t.Errorf("the answer is %q, %v", b[:n], err)
			}
		})
	}
}

// A packet that cannot be sent is an error, and so is a read that a close ends.
func TestPacketErrors(t *testing.T) {
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPacketConn(udp)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.WriteTo([]byte("x"), &net.UDPAddr{IP: net.ParseIP("2001:db8::1"), Port: 9}); err == nil {
		t.Error("a socket of IPv4 sent to IPv6")
	}
	if _, err := p.WriteTo(make([]byte, 1<<17), p.LocalAddr()); !errors.Is(err, syscall.EMSGSIZE) {
		t.Errorf("a packet of 128 KiB: %v", err)
	}
	ended := make(chan error)
	go func() { _, _, err := p.ReadFrom(make([]byte, 8)); ended <- err }()
	p.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("read of a closed socket: %v", err)
	}
}
