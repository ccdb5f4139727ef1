package integration

import (
	"go/ast"
	"go/types"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// decoding are the functions that take bytes apart, by package.
var decoding = map[string][]string{
	"encoding/json":      {"Unmarshal", "NewDecoder"},
	"encoding/binary":    {"Uint16", "Uint32", "Uint64", "Uvarint", "ReadUvarint", "Read"},
	"encoding/pem":       {"Decode"},
	"encoding/hex":       {"Decode", "DecodeString"},
	"crypto/x509":        {"ParseCertificate", "ParseCertificateRequest", "ParsePKCS8PrivateKey"},
	"go.yaml.in/yaml/v3": {"NewDecoder"},
	"github.com/hashicorp/go-msgpack/v2/codec":      {"NewDecoder", "NewDecoderBytes"},
	"google.golang.org/protobuf/encoding/protowire": {"ConsumeTag"},
	module + "api": {"DecodeStrict", "DecodeLenient"},
}

// elsewhere are the packages whose decoding a target of another package reaches,
// and those that read but what the user who runs them wrote.
var elsewhere = map[string]string{
	"cluster":                    "api/server FuzzPeerBodies",
	"api/cli":                    "", // the user's own session file, and the lines of a trace of logs
	"api/server/openapi/conform": "", // what the server under test answered
}

// TestEveryDecoderIsFuzzed: a package that takes bytes of a disk or a network
// apart has a fuzz target of its own, or names the one that reaches it.
func TestEveryDecoderIsFuzzed(t *testing.T) {
	targets := map[string][]string{} // by package
	for _, s := range sources(t, true) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && strings.HasPrefix(f.Name.Name, "Fuzz") && strings.HasSuffix(s.path, "_test.go") {
				targets[s.pkg] = append(targets[s.pkg], f.Name.Name)
			}
		}
	}
	found := map[string]string{} // package → what it calls, and where
	for _, s := range sources(t, false) {
		if top, _, _ := strings.Cut(s.pkg, "/"); top == "integration" || top == "scripts" {
			continue
		}
		if call := decodes(s); call != "" {
			found[s.pkg] = call + " in " + filepath.Base(s.path)
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(found)) {
		by, listed := elsewhere[pkg]
		of, name, _ := strings.Cut(by, " ")
		switch {
		case len(targets[pkg]) > 0:
		case !listed:
			t.Errorf("package %s takes bytes apart (%s) and has no fuzz target", pkg, found[pkg])
		case by != "" && !slices.Contains(targets[of], name):
			t.Errorf("package %s: there is no target %s", pkg, by)
		}
	}
	for pkg := range elsewhere {
		if found[pkg] == "" || len(targets[pkg]) > 0 {
			t.Errorf("package %s takes nothing apart, or has a target of its own: take it out of the list", pkg)
		}
	}
	if len(found) < 10 {
		t.Errorf("found only %v: does the test still know how bytes are taken apart?", found)
	}
}

// decodes returns the first call of a file that takes bytes apart.
func decodes(s source) (call string) {
	names := map[string][]string{} // as the packages are called in the file
	for _, imp := range s.file.Imports {
		path, _ := strconv.Unquote(imp.Path.Value)
		name := strings.TrimSuffix(strings.TrimSuffix(path, "/v3"), "/v2")
		name = name[strings.LastIndexByte(name, '/')+1:]
		if imp.Name != nil {
			name = imp.Name.Name
		}
		names[name] = decoding[path]
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && call == "" {
			of, _, _ := strings.Cut(types.ExprString(sel.X), ".")
			if slices.Contains(names[of], sel.Sel.Name) {
				call = types.ExprString(sel)
			}
		}
		return call == ""
	})
	return call
}
