package output

import (
	"bytes"
	"maps"
	"slices"

	"github.com/bootagent/bootagent/agent/document"
)

// Env is an environment file for the EnvironmentFile= of systemd.exec(5), one
// assignment a line in the order of the names, each value in double quotes.
// Inside those, systemd and a POSIX shell agree: a backslash takes the meaning
// from the four characters below, and everything else stands for itself, line
// feeds too.
func Env(env map[document.EnvName]document.EnvValue) []byte {
	var out bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(env)) {
		out.WriteString(string(name) + `="`)
		for _, c := range []byte(env[name]) {
			if c == '"' || c == '\\' || c == '`' || c == '$' {
				out.WriteByte('\\')
			}
			out.WriteByte(c)
		}
		out.WriteString("\"\n")
	}
	return out.Bytes()
}
