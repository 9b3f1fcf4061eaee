package facts

import "strings"

// ParseOSRelease reads os-release(5): assignments in the shell's manner, one
// a line, whose values may be quoted. Lines of another form are passed over,
// as the manual asks of readers.
func ParseOSRelease(text string) map[string]string {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && name != "" && !strings.HasPrefix(name, "#") {
			values[name] = unquote(value)
		}
	}
	return values
}

// unquote takes away a pair of quotes, and in double ones the backslashes
// before the characters that are special there.
func unquote(s string) string {
	if len(s) < 2 || s[0] != s[len(s)-1] || s[0] != '"' && s[0] != '\'' {
		return s
	}
	inner := s[1 : len(s)-1]
	if s[0] == '\'' {
		return inner
	}
	return strings.NewReplacer(`\"`, `"`, `\$`, `$`, `\\`, `\`, "\\`", "`").Replace(inner)
}
