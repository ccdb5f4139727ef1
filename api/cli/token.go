package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/api/client"
	"github.com/mesita/mesita/cluster/tlsconf"
	"github.com/urfave/cli/v2"
)

func (a *app) tokenCommand() *cli.Command {
	return &cli.Command{
		Name: "token", Usage: "tokens of users and programs", Description: example("mesita token create --role operator --name ci", "mesita token ls"),
		Subcommands: []*cli.Command{a.tokenCreate(), a.tokenLs(), a.tokenRevoke()},
	}
}

func (a *app) tokenCreate() *cli.Command {
	return &cli.Command{
		Name: "create", Usage: "make a client token; it is shown once", Description: example("mesita token create --role operator --name ci --ttl 720h", "mesita token create --role deployer@prod --name ci"),
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "role", Usage: "`ROLE`[@SCOPE] as mesita role has them; may be repeated (default: viewer)"},
			&cli.StringFlag{Name: "name", Usage: "`NAME` that events show"},
			&cli.StringFlag{Name: "run-as", Usage: "`USER`[:GROUP] that tasks run as (default: as their partition says, or mesita-task)"},
			option.SpanFlag("ttl", 90*24*time.Hour, "`TIME` until it expires"),
			option.DryRunFlag(),
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print the token only"},
		},
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 0, "token create"); err != nil {
				return err
			}
			r := api.TokenRequest{Kind: api.TokenClient, Name: c.String("name"), RunAs: c.String("run-as"), TTL: api.Duration(option.Span(c, "ttl"))}
			if r.TTL == 0 { // which the API has for what it is by default
				return noLife()
			}
			for _, s := range c.StringSlice("role") {
				if _, err := api.ParseRight(s); err != nil {
					return err
				}
			}
			if r.Rights = c.StringSlice("role"); len(r.Rights) == 0 {
				r.Role = api.RoleViewer
			} else if len(r.Rights) == 1 && r.Role.UnmarshalText([]byte(r.Rights[0])) == nil {
				r.Rights = nil // as clusters below level 3 know it
			}
			if err := r.Validate(); err != nil {
				return err
			}
			if c.Bool("dry-run") {
				a.progress("would make a token of the role %s, valid for %s", (&api.Token{Role: r.Role, Rights: r.Rights}).Has(), r.TTL)
				return nil
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			g, err := cl.CreateToken(c.Context, r)
			if err != nil {
				return err
			}
			fmt.Fprintln(a.out, g.Secret)
			if c.Bool("quiet") {
				return nil
			}
			if g.RunAs != "" {
				a.progress("its tasks run as %s", g.RunAs)
			}
			a.progress("%s, valid until %s; it is not shown again", g.Has(), g.Expires.Local().Format(time.RFC3339))
			token := "TOKEN"
			if isTerminal(a.out) && isTerminal(a.err) { // what is not read at once may be kept by somebody else
				token = g.Secret
			}
			a.progress("  mesita login %s --token %s", a.aNode(c.Context, cl), token)
			return nil
		},
	}
}

// aNode is the address of a node that is there, as commands take it, ADDRESS if none is
// known.
func (a *app) aNode(ctx context.Context, cl *client.Client) string {
	nodes, err := cl.Nodes(ctx, false)
	if err == nil {
		for _, n := range nodes {
			if n.State == api.NodeReady && n.Addr != "" {
				return joinAddr(n.Addr)
			}
		}
	}
	return "ADDRESS"
}

// joinAddr is how the address of a node is given to node join.
func joinAddr(addr string) string {
	return strings.TrimSuffix(addr, fmt.Sprintf(":%d", api.DefaultPort))
}

func (a *app) tokenLs() *cli.Command {
	return a.watched(&cli.Command{
		Name: "ls", Usage: "list tokens", Description: example("mesita token ls", "mesita token ls --join"),
		Flags: readFlags(&cli.BoolFlag{Name: "join", Usage: "join tokens instead of client tokens"}),
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 0, "token ls"); err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			kind := api.TokenClient
			if c.Bool("join") {
				kind = api.TokenJoin
			}
			tokens, err := cl.Tokens(c.Context, kind)
			if err != nil {
				return err
			}
			return list(a.out, c, tokens, func(t *api.Token) string { return t.ID }, []column[*api.Token]{
				{"ID", func(t *api.Token) string { return t.ID }, false},
				{"NAME", func(t *api.Token) string { return t.Name }, false},
				{"ROLE", func(t *api.Token) string {
					if t.Kind == api.TokenJoin {
						if t.WorkerOnly {
							return "join as worker"
						}
						return "join"
					}
					return t.Has()
				}, false},
				{"RUNS AS", func(t *api.Token) string { return or(t.RunAs, "-") }, true},
				{"USES", func(t *api.Token) string {
					if t.MaxUses > 0 {
						return fmt.Sprintf("%d/%d", t.Uses, t.MaxUses)
					}
					return fmt.Sprint(t.Uses)
				}, false},
				{"AGE", func(t *api.Token) string { return age(t.Created) }, false},
				{"EXPIRES", func(t *api.Token) string {
					if t.Expires.IsZero() {
						return "never"
					}
					return t.Expires.Local().Format(time.RFC3339)
				}, false},
			})
		},
	})
}

func (a *app) tokenRevoke() *cli.Command {
	return &cli.Command{
		Name: "revoke", Usage: "revoke a token", ArgsUsage: "TOKEN", Description: example("mesita token revoke ci", "mesita token revoke k3f9 --dry-run"),
		Flags: []cli.Flag{option.DryRunFlag()},
		Action: func(c *cli.Context) error {
			if err := args(c, 1, 1, "token revoke TOKEN"); err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			t, err := findToken(c, cl, c.Args().First())
			if err != nil {
				return err
			}
			if c.Bool("dry-run") {
				a.progress("would revoke token %s (%s)", t.ID, tokenText(t))
				return nil
			}
			if err := cl.RevokeToken(c.Context, t.ID); err != nil {
				return err
			}
			a.progress("token %s (%s) is revoked", t.ID, tokenText(t))
			return nil
		},
	}
}

func noLife() error {
	return api.FieldErrorf("ttl", "0 is not a time to live: give one up to 90 days, or leave it out")
}

// findToken finds a token by its id, by its name, or by the unique beginning of its id.
func findToken(c *cli.Context, cl *client.Client, id string) (*api.Token, error) {
	var found, named []*api.Token
	for _, kind := range []api.TokenKind{api.TokenClient, api.TokenJoin} {
		all, err := cl.Tokens(c.Context, kind)
		if err != nil {
			return nil, err
		}
		for _, t := range all {
			if t.ID == id {
				return t, nil
			}
			if api.BeginsID(t.ID, id) {
				found = append(found, t)
			}
			if id != "" && t.Name == id {
				named = append(named, t)
			}
		}
	}
	if len(named) > 0 {
		found = named
	}
	if len(found) > 1 {
		return nil, api.Errorf(api.CodeNotFound, "%s are called, or begin with, %q: give a whole id; `mesita token ls` and `mesita token ls --join` list them", api.Count(len(found), "token"), id)
	}
	if len(found) == 0 {
		return nil, api.Errorf(api.CodeNotFound, "no token %q: give an id, the first %d or more of it, or a name; `mesita token ls` and `mesita token ls --join` list them", id, api.LeastOfID)
	}
	return found[0], nil
}

func tokenText(t *api.Token) string {
	what := t.Has()
	if t.Kind == api.TokenJoin {
		what = "join"
	}
	if t.RunAs != "" {
		what += ", runs tasks as " + t.RunAs
	}
	return strings.TrimSpace(what + " " + t.Name)
}

func (a *app) loginCommand() *cli.Command {
	return &cli.Command{
		Name: "login", Usage: "remember a cluster and a token for the commands that follow", ArgsUsage: "ADDRESS[,ADDRESS…]",
		Description: example("mesita login 10.0.0.11 --token msc1-…", "echo msc1-… | mesita login oak,fir"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "token", EnvVars: []string{"MESITA_TOKEN"}, Usage: "the client token, `msc1-…` (default: read from standard input)"},
			&cli.StringFlag{Name: "ca", EnvVars: []string{"MESITA_CA"}, Usage: "`FILE` with the cluster's CA: ca.crt in any node's data folder (default: that of the token's pin)"},
		},
		Action: func(c *cli.Context) error {
			if err := args(c, 1, 1, "login ADDRESS"); err != nil {
				return err
			}
			s := savedContext{Addrs: strings.Split(c.Args().First(), ","), Token: strings.TrimSpace(c.String("token"))}
			if s.Token == "" {
				if isTerminal(a.in) {
					fmt.Fprint(a.err, "token: ")
				}
				line, _ := bufio.NewReader(io.LimitReader(a.in, int64(option.MaxSecret))).ReadString('\n') // an empty one is refused below
				s.Token = strings.TrimSpace(line)
			}
			token, err := api.ParseClientToken(s.Token)
			if err != nil {
				return err
			}
			switch path := c.String("ca"); {
			case path != "":
				s.CA, err = option.ReadFile("ca", path, option.MaxSecret)
			case token.Pin != "":
				s.CA, err = fetchCA(c.Context, s.Addrs, token.Pin)
			default:
				err = api.FieldErrorf("ca", "is needed, as the token does not say which CA the cluster has: copy ca.crt from the data folder of a node, and name it with --ca")
			}
			if err != nil {
				return err
			}
			return a.login(c, &s)
		},
	}
}

// fetchCA asks the nodes at some addresses for the CA that a token names.
func fetchCA(ctx context.Context, addrs []string, pin string) ([]byte, error) {
	at, err := client.TLSAddresses(addrs)
	if err != nil || len(at) == 0 { // a loopback without TLS
		return nil, err
	}
	return tlsconf.FetchCA(ctx, at, pin)
}

// login tries the credentials before it keeps them.
func (a *app) login(c *cli.Context, s *savedContext) error {
	cl, err := client.New(client.Config{Addrs: s.Addrs, Token: s.Token, CA: s.CA})
	if err != nil {
		return err
	}
	nodes, err := cl.Nodes(c.Context, false)
	if err != nil {
		return err
	}
	path, err := contextPath()
	if err != nil {
		return err
	}
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil { // whole or not at all, and with these rights
		return err
	}
	a.progress("logged in: %s; kept in %s", api.Count(len(nodes), "node"), path)
	return nil
}

func (a *app) logoutCommand() *cli.Command {
	return &cli.Command{
		Name: "logout", Usage: "forget what login remembered", Description: example("mesita logout"),
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 0, "logout"); err != nil {
				return err
			}
			path, err := contextPath()
			if err != nil {
				return err
			}
			if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
				return err
			}
			return nil
		},
	}
}
