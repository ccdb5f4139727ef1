package option

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

func TestEnvFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "env")
	read := func(text string) (map[string]string, error) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var s api.JobSpec
		err := readPairs("env-file", path, &s.Env)
		return s.Env, err
	}
	got, err := read("\ufeffA=1\r\nexport C=3\nexport\tC2 = 3\n D = 4 \n# comment\n\n  # another\nE=\"a b\" # why\nF='x \"$y\\n'\nG=h # not\nH=\nI=\"a\\nb\\\"\\$c\\d\"\n" +
		"J=a#b\nK=x=y z\nL=#none\nM='' \nexported=yes\nexport=no\nN={\"a\":1}\nA=2")
	want := map[string]string{"A": "2", "C": "3", "C2": "3", "D": "4", "E": "a b", "F": "x \"$y\\n", "G": "h", "H": "", "I": "a\nb\"$c\\d", "J": "a#b", "K": "x=y z", "L": "", "M": "",
		"exported": "yes", "export": "no", "N": "{\"a\":1}"}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v\n%q\nwant\n%q", err, got, want)
	}
	for line, why := range map[string]string{"PATH": "is not NAME=VALUE", "=x": "is not NAME=VALUE", "A B=c": "is not NAME=VALUE", "export =c": "is not NAME=VALUE",
		"\"A\"=b": "is not NAME=VALUE", "A=\"b": "is not closed", "A='b'c": "follows the closing quote", "A=\"b\\\"": "is not closed"} {
		if got, err := read("X=1\n" + line + "\nY=2"); api.ErrorCode(err) != api.CodeInvalid || !strings.Contains(err.Error(), path+":2: ") || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %q, %v", line, got, err)
		}
	}
}

func TestFilesThatAreNotThere(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "web.yaml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"web.yml":           "file: there is no " + dir + "/web.yml: did you mean " + dir + "/web.yaml?",
		"something-else":    "file: there is no file something-else in " + dir + ": give its path from where you are, or the whole one",
		"folder/other.yaml": "file: there is no " + dir + "/folder/other.yaml: its folder cannot be read: no such file or directory",
	} {
		if _, err := ReadFile("file", filepath.Join(dir, name), 10); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
