package document

import (
	"encoding"
	"strings"
	"testing"
)

// takes is the rule of a name or a value: which texts it takes, which not.
func takes[T any, P interface {
	*T
	encoding.TextUnmarshaler
}](t *testing.T, good, bad []string) {
	t.Helper()
	for _, text := range good {
		var v T
		if err := P(&v).UnmarshalText([]byte(text)); err != nil {
			t.Errorf("%T: %.40q: %v", v, text, err)
		}
	}
	for _, text := range bad {
		var v T
		if err := P(&v).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%T: %.40q was taken", v, text)
		} else if len(err.Error()) > 400 || strings.ContainsAny(err.Error(), "\n\x1b\x00") {
			t.Errorf("%T: an error that is no line for a log: %q", v, err)
		}
	}
}

func long(n int) string { return strings.Repeat("x", n) }

func TestEnvName(t *testing.T) {
	takes[EnvName](t,
		[]string{"A", "_", "_1", "a_B9", long(255)},
		[]string{"", "1", "1A", "A-B", "A B", "A=B", "A\n", "\nA", "É", "Aé", "A.B", "$A", "A\x00", "\xff", long(256), "A\x1b[2J"})
}

func TestEnvValue(t *testing.T) {
	takes[EnvValue](t,
		[]string{"", " ", "a\tb\nc\n", "😀\u0085\u2028", "$`\"\\'#;", "\ufffd", "\ufdcf\ufdf0", "\U0010fffd", long(128<<10 - 512)},
		[]string{"\x00", "a\x00", "\r", "\r\n", "\x1b", "\x7f", "\xff", "\xed\xa0\x80", "\xc0\x80", "\ufdd0", "\ufdef", "\ufffe", "\uffff",
			"\U0001fffe", "\U0010ffff", long(128<<10 - 511)})
}

func TestFileName(t *testing.T) {
	takes[FileName](t,
		[]string{"a", "a/b", ".a", "..a", "a/..b", "a b", "é/ü", "...", "a\\b", "$x", "a/.boot", long(255), strings.Repeat(long(255)+"/", 4)[:1024-1]},
		[]string{"", "/", "/a", ".", "..", "../a", "a/..", "a/../b", "a/../../b", "./a", "a/.", "a/./b", "a//b", "a/", "a\n", "\x00", "a\x7f", "a\u0085",
			"a\u009b", "\xff", long(256), "a/" + long(256), strings.Repeat("a/", 512) + "a"})
}

func TestCredentialName(t *testing.T) {
	var obeyed []string
	for _, prefix := range systemdCredentials() {
		obeyed = append(obeyed, prefix, prefix+"x")
	}
	takes[CredentialName](t,
		[]string{"a", "db-password", "a.b", "ssh", "sshx", "my-ssh.key", "passwd", "systemd", "~", "a=b", "a*", long(200)},
		append(obeyed, "", ".", "..", ".a", "a/b", "/a", "a:b", "a b", " ", "a\n", "\x00", "é", "\x7f", "\xff", long(201),
			"passwd.hashed-password.root", "ssh.authorized_keys.root", "tmpfiles.extra", "sysusers.extra", "network.hosts", "system.machine_id",
			"vconsole.keymap", "systemd.extra-unit.x.service", "bootagent.config"))
}

func TestFlagName(t *testing.T) {
	takes[FlagName](t,
		[]string{"a", "new-checkout", "a/b.c_d-E9", "-", long(255)},
		[]string{"", "a b", "a\n", "é", "a:b", "a$", "\x00", long(256)})
}

func TestAccount(t *testing.T) {
	takes[Account](t,
		[]string{"root", "0", "www-data", "_apt", "a.b", long(32)},
		[]string{"", "a b", "a:b", "é", "a\n", "a/b", "\x00", long(33)})
}

func TestErrorsQuoteNamesWithCare(t *testing.T) {
	var n EnvName
	if err := n.UnmarshalText([]byte("A\n\x1b[2J")); err == nil || !strings.Contains(err.Error(), `"A\n\x1b[2J"`) {
		t.Error(err)
	}
	if err := n.UnmarshalText([]byte(long(1 << 20))); len(err.Error()) > 200 {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
}
