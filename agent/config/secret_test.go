package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/agent/strict"
)

func TestSecretHasOnePlace(t *testing.T) {
	for text, want := range map[string]string{
		"credential: a":             "",
		"file: /a":                  "",
		"env: A":                    "",
		"{}":                        "one of credential, file and env is wanted",
		"credential: ''":            "one of credential, file and env is wanted",
		"{credential: a, file: /a}": "one of credential, file and env is wanted",
		"{credential: a, env: A}":   "one of credential, file and env is wanted",
		"{file: /a, env: A}":        "one of credential, file and env is wanted",
		"credential: a/b":           "credential: a name is wanted, no slash in it and no dot first",
		"credential: /a":            "credential: a name is wanted, no slash in it and no dot first",
		"credential: ..":            "credential: a name is wanted, no slash in it and no dot first",
		"credential: .":             "credential: a name is wanted, no slash in it and no dot first",
		"file: a":                   "file: an absolute path is wanted",
	} {
		var s Secret
		got := ""
		if err := strict.Decode("f", []byte(text), &s); err != nil {
			got = strings.TrimPrefix(err.Error(), "f:1:1: ")
		}
		if got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestSecretRead(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"plain": "a b", "line": "a\n", "lines": "a\n\n", "empty": "", "agent_prefixed": "p", "huge": strings.Repeat("x", maxSecret+1), "full": strings.Repeat("x", maxSecret),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("BOOTAGENT_TEST_SECRET", "from env\n")
	t.Setenv("BOOTAGENT_TEST_EMPTY", "")
	for _, test := range []struct {
		secret    Secret
		want, err string
	}{
		{Secret{}, "", ""},
		{Secret{Credential: "plain"}, "a b", ""},
		{Secret{Credential: "line"}, "a", ""},
		{Secret{Credential: "lines"}, "a\n", ""},
		{Secret{Credential: "empty"}, "", ""},
		{Secret{Credential: "prefixed"}, "p", ""},
		{Secret{Credential: "none"}, "", "credential none: not there"},
		{Secret{Credential: "huge"}, "", "credential huge: larger than 1048576 bytes"},
		{Secret{File: filepath.Join(dir, "line")}, "a", ""},
		{Secret{File: filepath.Join(dir, "full")}, strings.Repeat("x", maxSecret), ""},
		{Secret{File: filepath.Join(dir, "huge")}, "", "file " + dir + "/huge: larger than 1048576 bytes"},
		{Secret{File: filepath.Join(dir, "none")}, "", "file " + dir + "/none: not there"},
		{Secret{File: dir}, "", "file " + dir + ": is a directory"},
		{Secret{Env: "BOOTAGENT_TEST_SECRET"}, "from env", ""},
		{Secret{Env: "BOOTAGENT_TEST_EMPTY"}, "", ""},
		{Secret{Env: "BOOTAGENT_TEST_NONE"}, "", "environment variable BOOTAGENT_TEST_NONE: not there"},
	} {
		got, err := test.secret.Read(Folder(dir))
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != test.err || string(got) != test.want {
			t.Errorf("%v: %d bytes, %v", test.secret, len(got), err)
		}
		if want := test.secret != (Secret{}); test.secret.Set() != want {
			t.Errorf("%v: Set = %v", test.secret, !want)
		}
	}
}

func TestNoFolderHasNoCredential(t *testing.T) {
	if _, err := Folder("")("etc"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if _, err := Folder(t.TempDir())("none"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
