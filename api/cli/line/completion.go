package line

import "github.com/mesita/mesita/api"

// CompleteCommand is the command by which a shell's script asks what may stand where the
// cursor is. It is followed by the words, up to the one that the cursor is in, and prints
// a line for each that fits: the word, and after a tab what it is, if there is more to say. FilesLine stands for files.
const (
	CompleteCommand = "__complete"
	FilesLine       = ":files"
)

// Completion is the completion script of a shell: bash, zsh or fish. It knows no
// commands: it asks the program that is completed, so it fits the next one, too.
func Completion(shell string) (string, error) {
	switch shell {
	case "bash":
		return bashScript, nil
	case "zsh":
		return zshScript, nil
	case "fish":
		return fishScript, nil
	}
	return "", api.FieldErrorf("shell", "%q is none of bash, zsh, fish", shell)
}

const bashScript = `_mesita() {
  local IFS=$'\n' line cur=${COMP_WORDS[COMP_CWORD]}
  [ "$cur" != = ] || cur=
  COMPREPLY=()
  while read -r line; do
    case $line in
      ` + FilesLine + `) compopt -o filenames 2>/dev/null; COMPREPLY+=($(compgen -f -- "$cur")) ;;
      *) COMPREPLY+=("${line%%$'\t'*}") ;;
    esac
  done < <("${COMP_WORDS[0]}" ` + CompleteCommand + ` "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _mesita mesita
`

const zshScript = `#compdef mesita
_mesita() {
  local line
  local -a found told
  while IFS= read -r line; do
    case $line in
      ` + FilesLine + `) _files ;;
      *) found+=("${line%%$'\t'*}"); told+=("${line/$'\t'/  }") ;;
    esac
  done < <("${words[1]}" ` + CompleteCommand + ` "${(@)words[2,CURRENT-1]}" "$PREFIX" 2>/dev/null)
  (( $#found == 0 )) || compadd -l -d told -a found
}
if [ "$funcstack[1]" = _mesita ]; then _mesita; else compdef _mesita mesita; fi
`

const fishScript = `function __mesita_complete
    set -l before (commandline -opc)
    set -l cur (commandline -ct)
    for line in ($before[1] ` + CompleteCommand + ` $before[2..-1] "$cur" 2>/dev/null)
        if test "$line" = ` + FilesLine + `
            __fish_complete_path "$cur"
        else
            echo $line
        end
    end
end
complete -c mesita -f -a '(__mesita_complete)'
`
