package tlsconf

import (
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCAKeepsItsPin(t *testing.T) {
	ca := newCA(t, "pine")
	again, err := LoadCA(ca.CertPEM(), ca.KeyPEM())
	check(t, err)
	if ca.Pin() != again.Pin() || len(ca.Pin()) != 52 || strings.Trim(ca.Pin(), "abcdefghijklmnopqrstuvwxyz234567") != "" {
		t.Errorf("pin %q, loaded %q", ca.Pin(), again.Pin())
	}
	if pin, err := PinOf(ca.CertPEM()); err != nil || pin != ca.Pin() {
		t.Errorf("PinOf: %q, %v", pin, err)
	}
	if years := time.Until(ca.cert.NotAfter).Hours() / 24 / 365; years < 19.9 || years > 20.1 {
		t.Errorf("good for %.1f years", years)
	}
	other := newCA(t, "pine")
	if other.Pin() == ca.Pin() {
		t.Error("two authorities with one pin")
	}
	for name, pair := range map[string][2][]byte{
		"another's key": {ca.CertPEM(), other.KeyPEM()},
		"no key":        {ca.CertPEM(), nil},
		"cut cert":      {ca.CertPEM()[:100], ca.KeyPEM()},
		"node cert":     {issue(t, ca, newHolder(t, ca, "oak").key, "oak", time.Hour), ca.KeyPEM()},
	} {
		if _, err := LoadCA(pair[0], pair[1]); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestSignedCertificate(t *testing.T) {
	ca := newCA(t, "pine")
	key, err := NewNodeKey()
	check(t, err)
	csr, err := key.CSR()
	check(t, err)
	now := time.Now()
	certPEM, err := ca.Sign(csr, NodeIdentity{ID: key.ID(), Name: "oak", ClusterID: "pine-id", Hosts: []string{"10.0.0.11"}}, now, DefaultLife)
	check(t, err)
	certs, err := parseCerts(certPEM)
	check(t, err)
	leaf := certs[0]
	if leaf.Subject.CommonName != key.ID() || len(key.ID()) != 16 || !slices.Equal(leaf.Subject.OrganizationalUnit, []string{"node"}) {
		t.Errorf("subject %v", leaf.Subject)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	for _, host := range []string{key.ID() + ".node.mesita", AnyNode, "oak", "10.0.0.11"} {
		for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
				t.Errorf("%s: %v", host, err)
			}
		}
	}
	if leaf.IsCA || !leaf.NotBefore.Before(now) || leaf.NotAfter.Sub(now.Add(DefaultLife)).Abs() > time.Second {
		t.Errorf("CA %v, from %s to %s", leaf.IsCA, leaf.NotBefore, leaf.NotAfter)
	}
	long, err := ca.Sign(csr, NodeIdentity{ID: key.ID(), Name: "oak", ClusterID: "pine-id"}, now, 10*caLife)
	check(t, err)
	if certs, _ := parseCerts(long); certs[0].NotAfter.After(ca.cert.NotAfter) {
		t.Error("a certificate outlives its authority")
	}
}

func TestSignRefuses(t *testing.T) {
	ca := newCA(t, "pine")
	key, err := NewNodeKey()
	check(t, err)
	other, err := NewNodeKey()
	check(t, err)
	good, err := key.CSR()
	check(t, err)
	id := NodeIdentity{ID: key.ID(), Name: "oak", ClusterID: "pine-id"}
	forged := slices.Clone(good)
	forged[len(forged)-1] ^= 1
	with := func(f func(*NodeIdentity)) NodeIdentity { c := id; f(&c); return c }
	for name, tc := range map[string]struct {
		csr  []byte
		id   NodeIdentity
		life time.Duration
		want string
	}{
		"key of another node": {good, with(func(i *NodeIdentity) { i.ID = other.ID() }), time.Hour, "another node"},
		"forged signature":    {forged, id, time.Hour, "not signed by its own key"},
		"garbage":             {[]byte("hello"), id, time.Hour, "not a certificate request"},
		"huge":                {make([]byte, 1<<20), id, time.Hour, "at most"},
		"other cluster":       {good, with(func(i *NodeIdentity) { i.ClusterID = "fir-id" }), time.Hour, "cluster id"},
		"no life":             {good, id, 0, "life"},
		"name of a node id":   {good, with(func(i *NodeIdentity) { i.Name = other.ID() + ".node.mesita" }), time.Hour, "reserved"},
		"name of any node":    {good, with(func(i *NodeIdentity) { i.Hosts = []string{"Node.Mesita"} }), time.Hour, "reserved"},
		"wildcard":            {good, with(func(i *NodeIdentity) { i.Hosts = []string{"*.mesita"} }), time.Hour, "not a host name"},
		"no name":             {good, with(func(i *NodeIdentity) { i.Name = "" }), time.Hour, "not a host name"},
	} {
		_, err := ca.Sign(tc.csr, tc.id, time.Now(), tc.life)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
	if _, err := ca.Sign(good, with(func(i *NodeIdentity) { i.ID = other.ID() }), time.Now(), time.Hour); !errors.Is(err, ErrWrongKey) {
		t.Errorf("want ErrWrongKey, got %v", err)
	}
}

func TestFiles(t *testing.T) {
	f := Files{Dir: t.TempDir()}
	if _, err := f.LoadKey(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no key: %v", err)
	}
	if _, err := f.LoadCert(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no certificate: %v", err)
	}
	key, made, err := f.LoadOrMakeKey()
	check(t, err)
	again, madeAgain, err := f.LoadOrMakeKey()
	check(t, err)
	if !made || madeAgain || key.ID() != again.ID() {
		t.Errorf("made %v then %v; %s then %s", made, madeAgain, key.ID(), again.ID())
	}
	ca := newCA(t, "pine")
	cert := issue(t, ca, key, "oak", time.Hour)
	check(t, f.SaveCert(cert))
	check(t, f.SaveCA(ca.CertPEM()))
	gotCert, err := f.LoadCert()
	check(t, err)
	gotCA, err := f.LoadCA()
	check(t, err)
	if _, err := NewHolder(again, gotCert, gotCA, nil); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]fs.FileMode{"node.key": 0o600, "node.crt": 0o644, "ca.crt": 0o644} {
		info, err := os.Stat(filepath.Join(f.Dir, name))
		check(t, err)
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %04o", name, info.Mode().Perm())
		}
	}
	if entries, _ := os.ReadDir(f.Dir); len(entries) != 3 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestFilesRefuseDamage(t *testing.T) {
	f := Files{Dir: t.TempDir()}
	path := filepath.Join(f.Dir, "node.key")
	check(t, os.WriteFile(path, []byte("x"), 0o600))
	if _, _, err := f.LoadOrMakeKey(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("damaged key: %v", err)
	}
	if data, _ := os.ReadFile(path); string(data) != "x" {
		t.Error("a damaged key was replaced")
	}
	key, err := NewNodeKey()
	check(t, err)
	check(t, f.SaveKey(key))
	check(t, os.Chmod(path, 0o640))
	if _, err := f.LoadKey(); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("open key: %v", err)
	}
	if err := f.SaveCert([]byte("junk")); err == nil {
		t.Error("junk was saved as a certificate")
	}
	crt := filepath.Join(f.Dir, "ca.crt")
	check(t, os.WriteFile(crt, make([]byte, 1<<20), 0o600))
	if _, err := f.LoadCA(); err == nil || !strings.Contains(err.Error(), crt) {
		t.Errorf("huge CA file: %v", err)
	}
}

func TestHolderRefusesForeignCertificates(t *testing.T) {
	pine, fir := newCA(t, "pine"), newCA(t, "fir")
	h := newHolder(t, pine, "oak")
	before := h.Leaf()
	other := newHolder(t, pine, "ash")
	if err := h.Swap(encodeCert(other.Leaf().Raw)); !errors.Is(err, ErrWrongKey) {
		t.Errorf("another node's: %v", err)
	}
	if err := h.Swap(issue(t, fir, h.key, "oak", time.Hour)); err == nil {
		t.Error("another cluster's: taken")
	}
	if err := h.Swap(nil); err == nil {
		t.Error("nothing: taken")
	}
	if h.Leaf() != before {
		t.Error("a refused certificate is in use")
	}
}
