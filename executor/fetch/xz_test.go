package fetch

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// packedXZ is a tar with the file d/a, packed with xz; wideXZ is packed so that unpacking
// it takes a window of 128 MiB, where xz -9 takes 64.
const (
	packedXZ = "/Td6WFoAAATm1rRGAgAhARYAAAB0L+Wj4Af/AEFdADILyCAOUCcI/OcAo4BJ6weYlWpaZpvps/pxFv3wpKkwifz3Umpy2ArRW93RCKgjE3fLT230ZEsur3r6P7fk8EcAAAAAAEN0l91mfHRTAAFdgBAAAAD5KLqSscRn+wIAAAAABFla"
	wideXZ   = "/Td6WFoAAATm1rRGAgAhAR4AAACbB1FmAQAAeAAAAABFru+D+O4WCgABGQGlLIHMH7bzfQEAAAAABFla"
)

func unbase64(t testing.TB, s string) []byte {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestUnpackXZ(t *testing.T) {
	good, wide := unbase64(t, packedXZ), unbase64(t, wideXZ)
	broken := append([]byte{}, good...)
	broken[len(broken)/2] ^= 1
	url := server(t, map[string][]byte{"/a.tar.xz": good, "/a.txz": good, "/short.txz": good[:len(good)-20], "/broken.txz": broken, "/not.txz": []byte("no"), "/wide.txz": wide}, nil)
	for name, want := range map[string]string{
		"a.tar.xz":   "",
		"a.txz":      "",
		"short.txz":  "unpack it: unexpected EOF",
		"broken.txz": "unpack it: ",
		"not.txz":    "unpack it: ",
		"wide.txz":   "unpack it: it takes more than 64MiB of memory: pack it with xz -9 at most",
	} {
		dir, err := fetch(t, Order{Files: []api.Fetch{{URI: url + "/" + name, Extract: true}}})
		if want == "" {
			if got := content(t, dir); err != nil || !strings.Contains(got, `d/a -rw-r----- "packed"`) {
				t.Errorf("%s: %v, %s", name, err, got)
			}
		} else if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, not %q", name, err, want)
		}
	}
}
