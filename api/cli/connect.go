package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

// savedContext is what `mesita login` keeps.
type savedContext struct {
	Addrs []string `json:"addrs"`
	Token string   `json:"token"`
	CA    []byte   `json:"ca"`
}

func contextPath() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "mesita", "context.json"), nil
}

func loadContext() (*savedContext, error) {
	path, err := contextPath()
	if err != nil {
		return nil, nil // without a home there is none
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s := new(savedContext)
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("%s is damaged: run `mesita login` again: %w", path, err)
	}
	return s, nil
}

// client reaches the cluster: by --addr, else by --socket, else by the saved
// context, else by the default socket.
func (a *app) client(c *cli.Context) (*client.Client, error) {
	if c.String("output") != "" { // nothing is done for an answer that cannot be shown
		if _, err := format(c); err != nil {
			return nil, err
		}
	}
	return a.reach(c.String("addr"), c.String("socket"))
}

func (a *app) reach(addr, socket string) (*client.Client, error) {
	cfg := client.Config{Token: os.Getenv("MESITA_TOKEN"), Socket: socket}
	if addr != "" {
		cfg.Addrs = strings.Split(addr, ",")
	}
	if path := os.Getenv("MESITA_CA"); path != "" {
		ca, err := option.ReadFile("MESITA_CA", path, option.MaxSecret)
		if err != nil {
			return nil, err
		}
		cfg.CA = ca
	}
	if cfg.Socket == "" || len(cfg.Addrs) > 0 {
		saved, err := loadContext()
		if err != nil {
			return nil, err
		}
		if saved != nil {
			if len(cfg.Addrs) == 0 {
				cfg.Addrs = saved.Addrs
			}
			if cfg.Token == "" {
				cfg.Token = saved.Token
			}
			if len(cfg.CA) == 0 {
				cfg.CA = saved.CA
			}
		}
	}
	if cfg.Socket == "" && len(cfg.Addrs) == 0 && !nodesRunHere {
		return nil, api.FieldErrorf("addr", "is missing, as no node runs on %s: `mesita login ADDRESS --token TOKEN` remembers a cluster, "+
			"--addr or MESITA_ADDR names nodes of one", systemName())
	}
	if cfg.Socket == "" {
		cfg.Socket = api.DefaultSocket
	}
	for i, s := range cfg.Addrs {
		cfg.Addrs[i] = strings.TrimSpace(s)
	}
	cfg.Stale = sync.OnceFunc(func() {
		fmt.Fprintln(a.err, "! no leader is known there: this is what the node that answered knew last, and some of it may be over; see `mesita cluster show`")
	})
	return client.New(cfg)
}
