package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

func (a *app) auditCommand() *cli.Command {
	return &cli.Command{
		Name: "audit", Usage: "who changed what, ran commands, read logs, or was refused", Description: "Each node records what it decides; the records of a node are a chain, in which what is\naltered, taken out or cut off is found.\n\n" + example("mesita audit ls --since 24h --refused", "mesita audit verify"),
		Subcommands: []*cli.Command{a.auditLs(), a.auditVerify()},
	}
}

func (a *app) auditLs() *cli.Command {
	return &cli.Command{
		Name: "ls", Usage: "list records of all nodes, oldest first", Description: example("mesita audit ls --user ci", "mesita audit ls --since 2h --action exec -o wide", "mesita audit ls --refused -o json"),
		Flags: readFlags(
			&cli.StringFlag{Name: "since", Usage: "only those not older than `TIME`: how long ago, or as in RFC 3339"},
			&cli.StringFlag{Name: "user", Usage: "only those of this `USER`: its name (ci, token:ci, root), or the id of a token"},
			&cli.StringFlag{Name: "action", Usage: "only this `ACTION`: deploy, exec, logs, manage-nodes, …, as in mesita can"},
			&cli.StringFlag{Name: "object", Usage: "only about this job, task, node, partition or token, `ID`"},
			&cli.BoolFlag{Name: "refused", Usage: "only what was refused"},
			&cli.IntFlag{Name: "limit", Aliases: []string{"n"}, Value: 100, Usage: "the newest `NUMBER`"},
		),
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 0, "audit ls"); err != nil {
				return err
			}
			q := client.AuditQuery{Since: c.String("since"), User: c.String("user"), Action: c.String("action"), Object: c.String("object"), Refused: c.Bool("refused"), Limit: c.Int("limit")}
			if q.Limit < 1 || q.Limit > api.MaxAudit {
				return api.FieldErrorf("limit", "%d is not within 1 to %d", q.Limit, api.MaxAudit)
			}
			if q.Since != "" || c.IsSet("since") {
				if _, err := api.ParseWhen(q.Since, time.Now()); err != nil {
					return option.InFlag("since", err)
				}
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			records, silent, err := cl.Audit(c.Context, q)
			if err != nil {
				return err
			}
			a.tellSilent(silent)
			return list(a.out, c, records, func(r *api.AuditRecord) string { return fmt.Sprintf("%s/%d", r.Node, r.Number) }, auditColumns)
		},
	}
}

// tellSilent says whose records are not among those that are shown.
func (a *app) tellSilent(silent []client.SilentNode) {
	for _, n := range silent {
		a.progress("! node %s is left out: %s", n.Node, n.Reason)
	}
}

var auditColumns = []column[*api.AuditRecord]{
	{"AGE", func(r *api.AuditRecord) string { return age(r.Time) }, false},
	{"TIME", func(r *api.AuditRecord) string { return r.Time.Local().Format(time.RFC3339) }, true},
	{"WHO", func(r *api.AuditRecord) string { return or(r.Actor, "-") }, false},
	{"FROM", func(r *api.AuditRecord) string {
		if r.Via != "" {
			return r.From + " at " + r.Via
		}
		return or(r.From, "-")
	}, true},
	{"NODE", func(r *api.AuditRecord) string { return r.Node }, false},
	{"ACTION", func(r *api.AuditRecord) string { return r.Action }, false},
	{"OBJECT", func(r *api.AuditRecord) string { return or(r.Object, "-") }, false},
	{"OUTCOME", func(r *api.AuditRecord) string {
		if r.More > 0 {
			return fmt.Sprintf("%s, %d more", r.Outcome, r.More)
		}
		return string(r.Outcome)
	}, false},
	{"WHAT", auditText, false},
}

// auditText is what was changed, or why not.
func auditText(r *api.AuditRecord) string {
	if r.Reason != "" {
		return r.Reason
	}
	var parts []string
	for _, c := range r.Changed {
		switch {
		case len(parts) == 3:
			return strings.Join(parts, ", ") + ", …"
		case c.Before == "":
			parts = append(parts, c.Field+" "+c.After)
		default:
			parts = append(parts, c.Field+" "+c.Before+"→"+or(c.After, "none"))
		}
	}
	if len(parts) == 0 {
		return or(r.Asked, r.Route)
	}
	return strings.Join(parts, ", ")
}

func (a *app) auditVerify() *cli.Command {
	return &cli.Command{
		Name: "verify", Usage: "have each node, or one, check that its audit is as it was written", ArgsUsage: "[NODE]", Description: "Names the file, line and record at which it is not. Exits with 1 then, or if a node does not\nanswer. What a power cut left at the end of a file is reported, and is not a fault.\n\n" + example("mesita audit verify", "mesita audit verify oak"),
		Flags: readFlags(),
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 1, "audit verify NODE"); err != nil {
				return err
			}
			if c.NArg() == 1 && c.Args().First() == "" {
				return api.FieldErrorf("node", "is empty: name a node, or none for all; `mesita node ls` lists them")
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			checks, silent, err := cl.CheckAudit(c.Context, c.Args().First())
			if err != nil {
				return err
			}
			a.tellSilent(silent)
			bad := len(silent)
			for _, k := range checks {
				bad += len(k.Faults)
				for _, note := range k.Notes {
					a.progress("%s: %s", k.Node, note)
				}
				for _, f := range k.Faults {
					a.progress("! %s: %s", k.Node, faultText(f))
				}
			}
			if err := list(a.out, c, checks, func(k *api.AuditCheck) string { return k.Node }, checkColumns); err != nil || bad == 0 {
				return err
			}
			return api.Errorf(api.CodeFailed, "not all of the audit is as it was written, or could be asked for: see above")
		},
	}
}

func faultText(f api.AuditFault) string {
	var where []string
	if f.File != "" {
		where = append(where, "file "+f.File)
	}
	if f.Line > 0 {
		where = append(where, fmt.Sprint("line ", f.Line))
	}
	if f.Number > 0 {
		where = append(where, fmt.Sprint("record ", f.Number))
	}
	if len(where) == 0 {
		return f.What
	}
	return strings.Join(where, ", ") + ": " + f.What
}

var checkColumns = []column[*api.AuditCheck]{
	{"NODE", func(k *api.AuditCheck) string { return k.Node }, false},
	{"FILES", func(k *api.AuditCheck) string { return fmt.Sprint(k.Files) }, false},
	{"RECORDS", func(k *api.AuditCheck) string { return fmt.Sprint(k.Records) }, false},
	{"FIRST", func(k *api.AuditCheck) string { return fmt.Sprint(k.First) }, false},
	{"LAST", func(k *api.AuditCheck) string { return fmt.Sprint(k.Head.Number) }, false},
	{"CHAIN", func(k *api.AuditCheck) string {
		if len(k.Faults) > 0 {
			return api.Count(len(k.Faults), "fault")
		}
		return "whole"
	}, false},
}
