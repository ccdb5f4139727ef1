package api

import (
	"strings"
	"testing"
)

func TestNamesOfFiles(t *testing.T) {
	value := FileValue("sha256:"+strings.Repeat("1", 64), false)
	for name, ok := range map[string]bool{
		"app.conf": true, "etc/app.conf": true, ".env": true, "etc/mesita-notice": true,
		"": false, ".": false, "/etc/passwd": false, "../x": false, "a/../b": false, "a//b": false, "a\x00": false, strings.Repeat("a", 256): false,
		".mesita-notice": false, ".mesita-incoming": false, ".mesita-incoming/x": false, "etc/.mesita-notice": false,
	} {
		s := &TaskSpec{Files: map[string]string{name: value}}
		if err := s.validateFiles(); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}
