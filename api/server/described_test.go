package server

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"sync"
	"testing"

	"github.com/mesita/mesita/api/server/openapi/conform"
)

// described holds the answers of all tests against what OpenAPI says.
var described = sync.OnceValues(func() (*conform.Checker, error) {
	s := &Server{}
	s.table = routeTable(s)
	doc, err := getOpenAPI(&call{Server: s})
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	return conform.New(b)
})

// asDescribed is the handler, whose answers fail the test if they are not as OpenAPI says.
func asDescribed(t testing.TB, h http.Handler) http.Handler {
	if _, ok := t.(*testing.T); !ok {
		return h // a benchmark's time is the handler's
	}
	c, err := described()
	if err != nil {
		t.Fatal(err)
	}
	return c.Handler(h, func(err error) { t.Errorf("not as OpenAPI says: %v", err) })
}

// TestMain fails if no test had a route answer as OpenAPI says that it does.
func TestMain(m *testing.M) {
	code := m.Run()
	whole := flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.list").Value.String() == ""
	if c, err := described(); code == 0 && err == nil && whole {
		for _, name := range c.Unseen() {
			fmt.Println("FAIL: no test has this answer, which OpenAPI names:", name)
			code = 1
		}
	}
	os.Exit(code)
}
