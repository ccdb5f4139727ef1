package line

import (
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/urfave/cli/v2"
)

// Wanted is what may stand where the cursor is on a command line.
type Wanted struct {
	Words []Word   // commands, flags, and values that the help names
	Nouns []string // as the help has them: JOB, TASK, NODE, PARTITION, …
	Files bool     // files of this machine
	Begin string   // what of the word is not part of the value, such as --node=
}

// Word is one that may be typed, and what it is.
type Word struct{ Text, About string }

// Complete says what may follow the words before the cursor, of which the last is the
// one that it is in. What is not understood wants nothing: it is not an error yet.
func Complete(root *cli.App, words []string) (*Line, Wanted) {
	l := &Line{}
	if len(words) == 0 {
		words = []string{""}
	}
	before, cur := words[:len(words)-1], words[len(words)-1]
	if n := len(before); cur == "=" { // bash takes --node=oak for three words
		cur = ""
	} else if n > 1 && before[n-1] == "=" {
		before = before[:n-1]
	}
	for i := 0; i < len(before); i++ {
		arg := before[i]
		switch {
		case arg == "--":
			return l, Wanted{Files: l.runs()}
		case arg == "=" && i > 0: // and the value of the flag before it
		case len(arg) > 1 && arg[0] == '-' && !(l.complete() && isNumber(arg)):
			if i == len(before)-1 {
				if f := l.awaits(root, arg); f != nil {
					return l, valueOf(f)
				}
			}
			if i+1 < len(before) && before[i+1] == "=" {
				before = slices.Delete(slices.Clone(before), i+1, i+2)
			}
			used, err := l.flag(root, before[i:])
			if err != nil {
				return l, Wanted{}
			}
			i += used - 1
		case !l.complete():
			if l.word(root, arg) != nil {
				return l, Wanted{}
			}
		default:
			l.args = append(l.args, arg)
		}
	}
	return l, l.wanted(root, cur)
}

// awaits is the flag that arg is, if its value is the next word.
func (l *Line) awaits(root *cli.App, arg string) cli.Flag {
	if strings.Contains(arg, "=") {
		return nil
	}
	name := strings.TrimLeft(arg, "-")
	for _, flags := range [][]cli.Flag{l.localFlags(), root.Flags} {
		if f := find(flags, name); f != nil && takesValue(f) {
			return f
		}
	}
	return nil
}

func (l *Line) runs() bool {
	return l.Command != nil && strings.Contains(l.Command.ArgsUsage, "-- ")
}

func (l *Line) wanted(root *cli.App, cur string) Wanted {
	flag, _, inline := strings.Cut(cur, "=")
	switch {
	case strings.HasPrefix(cur, "-") && inline:
		f := l.awaits(root, flag)
		if f == nil {
			return Wanted{}
		}
		w := valueOf(f)
		w.Begin = flag + "="
		return w
	case strings.HasPrefix(cur, "-"):
		return Wanted{Words: l.flagWords(root)}
	case !l.complete():
		var w Wanted
		for _, c := range l.subcommands(root) {
			if !c.Hidden {
				w.Words = append(w.Words, Word{c.Name, c.Usage})
			}
		}
		return w
	}
	return l.argument()
}

// flagWords are the flags that may be given here: once, unless more of one make sense.
func (l *Line) flagWords(root *cli.App) (words []Word) {
	for _, flags := range [][]cli.Flag{l.localFlags(), root.Flags} {
		for _, f := range flags {
			v, ok := f.(cli.VisibleFlag)
			_, many := f.(cli.DocGenerationSliceFlag)
			if d, isDoc := f.(cli.DocGenerationFlag); isDoc && (!ok || v.IsVisible()) && (many || !l.has(f)) {
				words = append(words, Word{"--" + f.Names()[0], strings.ReplaceAll(d.GetUsage(), "`", "")})
			}
		}
	}
	if l.runs() {
		words = append(words, Word{"--", "the command follows"})
	}
	return append(words, Word{"--help", "how it is used"})
}

// argument is what the next argument is, by the form that the help shows: what is in
// capitals is a thing of the cluster, and the rest are words as they are.
func (l *Line) argument() (w Wanted) {
	form, _, runs := strings.Cut(l.Command.ArgsUsage, "-- ")
	forms := strings.Fields(form)
	i := len(l.args)
	if n := len(forms); i >= n && n > 0 && strings.ContainsAny(forms[n-1], "….") {
		i = n - 1
	}
	switch {
	case i < len(forms):
		for name := range strings.SplitSeq(strings.Trim(forms[i], "[].…"), "|") {
			if name == strings.ToLower(name) {
				w.Words = append(w.Words, Word{Text: name})
			} else {
				w.Nouns = append(w.Nouns, noun(name))
			}
		}
	case runs:
		w.Words = []Word{{"--", "the command follows"}}
	}
	return w
}

// noun is the first word in capitals.
func noun(s string) string {
	return strings.FieldsFunc(s+" ", func(r rune) bool { return !unicode.IsUpper(r) })[0]
}

// placeholder is what stands for a flag's value in its help.
var placeholder = regexp.MustCompile("`([^`]*)`([^;:(]*)(?:: ([^;(]*))?")

// valueOf is what a flag's value may be, by its help: `FILE`, a thing of the cluster,
// or one of some words, as in "`NAME`: fifo, sjf or fair (default fifo)".
func valueOf(f cli.Flag) (w Wanted) {
	d, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return w
	}
	found := placeholder.FindStringSubmatch(d.GetUsage())
	if found == nil || noun(found[1]+"X") == "X" {
		return w
	}
	switch of := noun(found[1]); of {
	case "FILE", "DIR", "FOLDER":
		return Wanted{Files: true}
	default:
		w.Nouns = []string{of}
	}
	for text := range strings.SplitSeq(strings.ReplaceAll(found[3], " or ", ", "), ", ") {
		if text = strings.TrimSpace(text); !plainWord.MatchString(text) {
			return Wanted{Nouns: w.Nouns}
		}
		w.Words = append(w.Words, Word{Text: text})
	}
	if len(w.Words) > 1 {
		w.Nouns = nil
	} else {
		w.Words = nil
	}
	return w
}

var plainWord = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
