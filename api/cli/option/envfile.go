package option

import (
	"strings"

	"github.com/mesita/mesita/api"
)

// maxEnvFile bounds an environment: Linux passes no more to a program.
const maxEnvFile = 6 << 20

// EnvFile is what a file of NAME=VALUE says that envFile of a job names.
func EnvFile(path string) (env map[string]string, err error) {
	err = readPairs("envFile", path, &env)
	return env, err
}

// readPairs adds the lines of a file that a flag names, as Docker Compose reads them:
// export before a name, blanks around it, quotes around a value and comments are not part
// of either. No value is taken from the environment, so $ is itself.
func readPairs(flag, path string, to *map[string]string) error {
	b, err := ReadFile(flag, path, maxEnvFile)
	if err != nil {
		return err
	}
	number := 0
	for line := range strings.Lines(strings.TrimPrefix(string(b), "\ufeff")) {
		number++
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		name, rest, ok := strings.Cut(line, "=")
		if after, exported := strings.CutPrefix(name, "export"); exported && strings.TrimLeft(after, " \t") != after {
			name = after
		}
		if name = strings.TrimSpace(name); !ok || name == "" || strings.ContainsAny(name, " \t'\"") {
			return api.FieldErrorf(flag, "%s:%d: %q is not NAME=VALUE: give each name a value, which may be in quotes", path, number, shown(line))
		}
		value, why := envValue(strings.TrimSpace(rest))
		if why != "" {
			return api.FieldErrorf(flag, "%s:%d: %q: %s", path, number, shown(line), why)
		}
		if *to == nil {
			*to = map[string]string{}
		}
		(*to)[name] = value
	}
	return nil
}

// envValue is what is written for a value, or why it is none.
func envValue(text string) (value, why string) {
	if text == "" || text[0] != '\'' && text[0] != '"' {
		if strings.HasPrefix(text, "#") {
			return "", ""
		}
		for _, comment := range []string{" #", "\t#"} {
			text, _, _ = strings.Cut(text, comment)
		}
		return strings.TrimSpace(text), ""
	}
	var out strings.Builder
	quote, i := text[0], 1
	for ; i < len(text) && text[i] != quote; i++ {
		if quote == '"' && text[i] == '\\' && i+1 < len(text) {
			i++
			if plain, ok := escapes[text[i]]; ok {
				out.WriteByte(plain)
				continue
			}
			out.WriteByte('\\')
		}
		out.WriteByte(text[i])
	}
	if i == len(text) {
		return "", "the quote at its beginning is not closed in this line: write \\n within \"…\" for the end of a line"
	}
	if rest := strings.TrimSpace(text[i+1:]); rest != "" && rest[0] != '#' {
		return "", "something follows the closing quote: put all of the value in quotes, or none"
	}
	return out.String(), ""
}

// escapes are those of a value in double quotes; of anything else a backslash is one.
var escapes = map[byte]byte{'n': '\n', 'r': '\r', 't': '\t', '"': '"', '\\': '\\', '$': '$'}

// shown is the beginning of a line that may be long.
func shown(line string) string {
	if r := []rune(line); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return line
}
