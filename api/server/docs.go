package server

import (
	"net/http"
	"strings"

	"github.com/mesita/mesita/api/docs"
	"github.com/mesita/mesita/api/exchange"
)

// Shared header values: net/http only reads them.
var (
	htmlType     = []string{"text/html; charset=utf-8"}
	markdownType = []string{"text/markdown; charset=utf-8"}
)

// getDocs answers a page of the documentation, or the list of them: a browser says that
// it takes HTML, a program gets what the page is written in.
func getDocs(c *call) (any, error) {
	page := docs.Index()
	if c.Args[0] != "" {
		var err error
		if page, err = docs.Find(c.Args[0]); err != nil {
			return nil, err
		}
	}
	text, kind := page.Text, markdownType
	c.W.Header()["Vary"] = []string{"Accept"}
	if strings.Contains(c.R.Header.Get("Accept"), "text/html") {
		text, kind = page.HTML(), htmlType
		c.W.Header()["Content-Security-Policy"] = []string{docs.Policy()}
	}
	c.Head(http.StatusOK, kind)
	c.W.Write([]byte(text)) // the caller is gone if this fails
	return exchange.Done{}, nil
}
