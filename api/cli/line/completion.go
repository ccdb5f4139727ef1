package line

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/urfave/cli/v2"
)

// Completion is the completion script of a shell: bash, zsh or fish.
func Completion(shell string, commands []*cli.Command) (string, error) {
	words := completions(commands, nil)
	switch shell {
	case "bash":
		return bashCompletion(words), nil
	case "zsh":
		return "#compdef mesita\nautoload -U +X bashcompinit && bashcompinit\n" + bashCompletion(words), nil
	case "fish":
		return fishCompletion(words), nil
	}
	return "", api.FieldErrorf("shell", "%q is none of bash, zsh, fish", shell)
}

// completion is what may follow the words of a command.
type completion struct {
	path  []string
	words []string
}

func completions(cs []*cli.Command, path []string) []completion {
	own := completion{path: slices.Clone(path)}
	var out []completion
	for _, c := range cs {
		if c.Hidden {
			continue
		}
		own.words = append(own.words, c.Name)
		at := append(slices.Clone(path), c.Name)
		of := []completion{{path: at}}
		if len(c.Subcommands) > 0 {
			of = completions(c.Subcommands, at)
		}
		for _, f := range c.Flags {
			of[0].words = append(of[0].words, "--"+f.Names()[0])
		}
		out = append(out, of...)
	}
	return append([]completion{own}, out...)
}

func bashCompletion(cs []completion) string {
	var b strings.Builder
	b.WriteString("_mesita() {\n  local cur=${COMP_WORDS[COMP_CWORD]} path='' w words=''\n")
	b.WriteString("  for w in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do case $w in -*) ;; *) path=\"$path $w\";; esac; done\n  case \"$path\" in\n")
	for i := len(cs) - 1; i >= 0; i-- { // the longest paths first
		p := ""
		for _, w := range cs[i].path {
			p += " " + w
		}
		fmt.Fprintf(&b, "    %q*) words=%q;;\n", p, strings.Join(cs[i].words, " "))
	}
	b.WriteString("  esac\n  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\ncomplete -o default -F _mesita mesita\n")
	return b.String()
}

func fishCompletion(cs []completion) string {
	var b strings.Builder
	for _, c := range cs {
		cond := "__fish_use_subcommand"
		if len(c.path) > 0 {
			cond = "__fish_seen_subcommand_from " + c.path[len(c.path)-1]
		}
		for _, w := range c.words {
			if long, ok := strings.CutPrefix(w, "--"); ok {
				fmt.Fprintf(&b, "complete -c mesita -n '%s' -l %s\n", cond, long)
			} else {
				fmt.Fprintf(&b, "complete -c mesita -f -n '%s' -a %s\n", cond, w)
			}
		}
	}
	return b.String()
}
