package output

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/agent/document"
	"github.com/google/go-cmp/cmp"
)

// envReader reads an environment file as systemd does: its states and what
// they do are those of parse_env_file_internal in src/basic/env-file.c.
type envReader struct {
	state      func(*envReader, byte)
	key, value []byte
	quoted     bool // a value is there, though it may be empty

	// How much is left of key and value when the blanks at their end are cut.
	keyEnd, valueEnd int

	assignments [][2]string
}

func readEnv(file []byte) [][2]string {
	r := &envReader{state: preKey, keyEnd: -1, valueEnd: -1}
	for _, c := range file {
		if c == 0 {
			break
		}
		r.state(r, c)
	}
	if r.quoted {
		r.push()
	}
	return r.assignments
}

func (r *envReader) to(state func(*envReader, byte)) { r.state = state }

// start begins a value; also at the end of the file it is one from here on.
func (r *envReader) start() {
	r.valueEnd, r.quoted = -1, true
	r.to(preValue)
}

func (r *envReader) push() {
	if r.keyEnd >= 0 {
		r.key = r.key[:r.keyEnd]
	}
	if r.valueEnd >= 0 {
		r.value = r.value[:r.valueEnd]
	}
	r.assignments = append(r.assignments, [2]string{string(r.key), string(r.value)})
	r.key, r.value, r.quoted = nil, nil, false
	r.keyEnd, r.valueEnd = -1, -1
	r.to(preKey)
}

func oneOf(set string, c byte) bool { return strings.IndexByte(set, c) >= 0 }

const (
	newline    = "\n\r"
	whitespace = " \t\n\r"
	needEscape = "\"\\`$"
)

func preKey(r *envReader, c byte) {
	switch {
	case oneOf("#;", c):
		r.to(comment)
	case !oneOf(whitespace, c):
		r.key, r.keyEnd = append(r.key, c), -1
		r.to(key)
	}
}

func key(r *envReader, c byte) {
	switch {
	case oneOf(newline, c):
		r.key = nil
		r.to(preKey)
	case c == '=':
		r.start()
	default:
		if !oneOf(whitespace, c) {
			r.keyEnd = -1
		} else if r.keyEnd < 0 {
			r.keyEnd = len(r.key)
		}
		r.key = append(r.key, c)
	}
}

func preValue(r *envReader, c byte) {
	switch {
	case oneOf(newline, c):
		r.valueEnd = -1
		r.push()
	case c == '\'':
		r.to(singleQuoted)
	case c == '"':
		r.to(doubleQuoted)
	case c == '\\':
		r.to(escaped)
	case !oneOf(whitespace, c):
		r.value = append(r.value, c)
		r.to(bare)
	}
}

func bare(r *envReader, c byte) {
	switch {
	case oneOf(newline, c):
		r.push()
	case c == '\\':
		r.valueEnd = -1
		r.to(escaped)
	default:
		if !oneOf(whitespace, c) {
			r.valueEnd = -1
		} else if r.valueEnd < 0 {
			r.valueEnd = len(r.value)
		}
		r.value = append(r.value, c)
	}
}

func escaped(r *envReader, c byte) {
	if !oneOf(newline, c) {
		r.value = append(r.value, c)
	}
	r.to(bare)
}

func singleQuoted(r *envReader, c byte) {
	if c == '\'' {
		r.to(preValue)
		return
	}
	r.value = append(r.value, c)
}

func doubleQuoted(r *envReader, c byte) {
	switch c {
	case '"':
		r.to(preValue)
	case '\\':
		r.to(doubleQuotedEscaped)
	default:
		r.value = append(r.value, c)
	}
}

func doubleQuotedEscaped(r *envReader, c byte) {
	if oneOf(needEscape, c) {
		r.value = append(r.value, c)
	} else if c != '\n' {
		r.value = append(r.value, '\\', c)
	}
	r.to(doubleQuoted)
}

func comment(r *envReader, c byte) {
	if c == '\\' {
		r.to(commentEscaped)
	} else if oneOf(newline, c) {
		r.to(preKey)
	}
}

func commentEscaped(r *envReader, c byte) {
	if oneOf(newline, c) { // since systemd 254; before it, the comment went on
		r.to(preKey)
		return
	}
	r.to(comment)
}

// TestReader is of the reader: it knows what systemd's own tests pin.
func TestReader(t *testing.T) {
	for file, want := range map[string][][2]string{
		"a=a":                               {{"a", "a"}},
		"  a = b c \n":                      {{"a", "b c"}},
		"a=b\\\nc\n":                        {{"a", "bc"}},
		"# no\n; no\na='x y' \"z\"\\ w\n\n": {{"a", "x yz w"}},
		"a=\"\\\"\\$\\a\\\nb\"\nb='\\n'":    {{"a", "\"$\\ab"}, {"b", "\\n"}},
		"a=\nb\nc=":                         {{"a", ""}, {"c", ""}},
		"a=\"x\ny\"\r\nb=\"open":            {{"a", "x\ny"}, {"b", "open"}},
		"#a\\\nb=c\n":                       {{"b", "c"}},
	} {
		if diff := cmp.Diff(want, readEnv([]byte(file))); diff != "" {
			t.Errorf("%q: %s", file, diff)
		}
	}
}

func TestEnv(t *testing.T) {
	env := map[document.EnvName]document.EnvValue{"B": "x\ny", "A": "a \"b\" \\ `c` $D 'e' #;=\t", "_": ""}
	const want = "A=\"a \\\"b\\\" \\\\ \\`c\\` \\$D 'e' #;=\t\"\nB=\"x\ny\"\n_=\"\"\n"
	if got := string(Env(env)); got != want {
		t.Errorf("%s", got)
	}
	if got := Env(nil); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

// values are such as quoting trips over.
func values() []string {
	return []string{
		"", " ", "  a  ", "\n", "\n\n a\n", "\t", `\`, `\\`, `\\\`, `a\`, "\\\n", "\\n", `"`, `""`, `"'"`, `'`, "`id`", "$(id)", "$HOME", "${HOME}", "$$", "$",
		"!", "!!", "a=b", "#c", ";c", " #c", "*", "~", "{a,b}", "é😀\u2028\u0085", "a\\\nb", "$'\\n'", `\"`, `\$`, "\\`", "&|<>()[]?", "-n", "-e a\\tb", "%i %%",
		strings.Repeat("\\", 1000), strings.Repeat("\"", 1001),
	}
}

func TestEnvForSystemd(t *testing.T) {
	for _, value := range values() {
		roundTrip(t, map[string]string{"A": value, "B": value, "C": "end"})
	}
}

// roundTrip writes what a document takes, and reads it again.
func roundTrip(t *testing.T, texts map[string]string) {
	t.Helper()
	env := map[document.EnvName]document.EnvValue{}
	want := map[string]string{}
	for n, v := range texts {
		var name document.EnvName
		var value document.EnvValue
		if name.UnmarshalText([]byte(n)) == nil && value.UnmarshalText([]byte(v)) == nil {
			env[name], want[n] = value, v
		}
	}
	got := map[string]string{}
	for _, assignment := range readEnv(Env(env)) {
		if _, twice := got[assignment[0]]; twice {
			t.Errorf("%q is assigned twice", assignment[0])
		}
		got[assignment[0]] = assignment[1]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzEnv(f *testing.F) {
	for _, value := range values() {
		f.Add("A", value, "B", "x")
	}
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string) {
		roundTrip(t, map[string]string{name1: value1, name2: value2})
	})
}

// TestEnvForShells reads the file with the shell that is there.
func TestEnvForShells(t *testing.T) {
	file := filepath.Join(t.TempDir(), "env")
	for _, value := range values() {
		env := map[document.EnvName]document.EnvValue{"A": document.EnvValue(value), "B": "end"}
		if err := os.WriteFile(file, Env(env), 0o600); err != nil {
			t.Fatal(err)
		}
		sh := exec.CommandContext(t.Context(), "sh", "-c", `. "$1"; printf '%s\0%s' "$A" "$B"`, "sh", file)
		var stderr bytes.Buffer
		sh.Stderr = &stderr
		got, err := sh.Output()
		if err != nil || stderr.Len() > 0 {
			t.Errorf("%q: %v: %s", value, err, stderr.String())
		}
		if want := value + "\x00end"; string(got) != want {
			t.Errorf("%q became %q", want, got)
		}
	}
}
