package server

import (
	"context"
	"net/http"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/exchange"
)

const (
	statsTimeout = 2 * time.Second // for a node to answer
	statsAtOnce  = 16              // nodes asked at a time
)

// missingNode is a node whose figures are not in the answer.
type missingNode struct {
	Node   string `json:"node"`
	Reason string `json:"reason"`
}

type missing struct {
	Missing []missingNode `json:"missing"`
}

// statsAnswer is how statistics are listed.
type statsAnswer struct {
	Items []api.TaskStats `json:"items"`
	Index uint64          `json:"index"`
}

var statsAsks = map[string]string{"Prefer": "detail=use: without the time that processes waited; detail=cpu: the CPU time alone. Less is read faster"}

// statsDetail is a preference (RFC 7240), and not a parameter, for servers from before
// refuse a parameter that they do not know.
func statsDetail(c *call) api.StatsDetail {
	for _, d := range api.StatsDetails {
		if c.R.Header.Get("Prefer") == d.Preference() {
			return d
		}
	}
	return api.StatsAll
}

func localStats(c *call) (any, error) {
	stats, err := c.Local.Stats(c.R.Context(), statsDetail(c))
	if err != nil {
		return nil, err
	}
	if !c.ID.Forwarded { // else the one that relays leaves out what is not the caller's
		sees := c.sight(c.Store.View())
		stats = slices.DeleteFunc(stats, func(s api.TaskStats) bool { return !sees.task(s.Task) })
	}
	return exchange.ListOf(slices.Values(stats)), nil
}

// allStats gathers the statistics of all nodes that should answer, or of one.
func allStats(c *call) (any, error) {
	only := ""
	if ref := c.Query.Values.Get("node"); ref != "" {
		n, err := findNode(c.Store.View(), ref)
		if err != nil {
			return nil, err
		}
		only = n.ID
	}
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		slots = make(chan struct{}, statsAtOnce)
		out   []api.TaskStats
		gone  = []missingNode{}
	)
	for n := range c.Store.View().Nodes() {
		if n.State == api.NodeGone || n.VoterOnly || only != "" && n.ID != only {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			stats, err := c.statsOf(n)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				gone = append(gone, missingNode{n.Name, err.Error()})
			}
			for i := range stats {
				stats[i].Node = n.Name
			}
			out = append(out, stats...)
		})
	}
	wg.Wait()
	sees := c.sight(c.Store.View())
	out = slices.DeleteFunc(out, func(s api.TaskStats) bool { return !sees.task(s.Task) })
	sort.Slice(out, func(i, j int) bool { return out[i].Task < out[j].Task })
	sort.Slice(gone, func(i, j int) bool { return gone[i].Node < gone[j].Node })
	l := exchange.ListOf(slices.Values(out))
	l.Extra = missing{gone}
	return l, nil
}

func (c *call) statsOf(n *api.Node) ([]api.TaskStats, error) {
	ctx, cancel := context.WithTimeout(c.R.Context(), statsTimeout)
	defer cancel()
	if n.ID == c.Cluster.NodeID() {
		return c.Local.Stats(ctx, statsDetail(c))
	}
	if n.State != api.NodeReady && n.State != api.NodeDraining {
		return nil, api.Errorf(api.CodeUnavailable, "is %s", n.State)
	}
	var a statsAnswer
	header := http.Header{}
	if d := statsDetail(c); d != api.StatsAll {
		header.Set("Prefer", d.Preference())
	}
	_, err := c.AskNode(ctx, n.ID, http.MethodGet, "/v1/local/stats", header, nil, &a)
	return a.Items, err
}
