package server

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/mesos"
	"github.com/mesita/mesita/fsm"
)

// The one port has the paths of Mesos and those of our API: none of ours is taken.
func TestPathsOfMesosAreNoneOfOurs(t *testing.T) {
	ours := ""
	rest := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { ours = r.URL.Path })
	h := mesos.New(mesos.Config{Store: fsm.NewStore(nil), Now: time.Now, Log: slog.New(slog.DiscardHandler)}).Handler(auth.Bearer, rest)
	paths := []string{"/", "/ui", "/favicon.ico", "/nothing"}
	for _, rt := range routeTable(nil) {
		for _, v := range []string{"{id}", "{ref}", "{path...}", "{path}", "{digest}", "{topic}"} {
			rt.Path = strings.ReplaceAll(rt.Path, v, "state")
		}
		paths = append(paths, rt.Path)
	}
	if len(paths) < 60 {
		t.Errorf("only %d paths", len(paths))
	}
	for _, path := range paths {
		ours = ""
		if h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)); ours != path {
			t.Errorf("%s is answered as Mesos does", path)
		}
	}
}
