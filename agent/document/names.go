package document

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// EnvName is the name of an environment variable, as systemd takes it:
// letters, digits and underscores, no digit first.
type EnvName string

// UnmarshalText checks the name.
func (n *EnvName) UnmarshalText(text []byte) error {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"
	name := string(text)
	if name == "" || len(name) > 255 || strings.Trim(name, letters+"0123456789") != "" || !strings.ContainsRune(letters, rune(name[0])) {
		return fmt.Errorf("environment name %s: want letters, digits and underscores, no digit first", quote(name))
	}
	*n = EnvName(name)
	return nil
}

// EnvValue is the value of an environment variable. systemd silently drops an
// assignment whose value it does not like, see env_value_is_valid in its
// source; so what it does not like is refused here.
type EnvValue string

// UnmarshalText checks the value, and never quotes it.
func (v *EnvValue) UnmarshalText(text []byte) error {
	value := string(text)
	switch {
	case !utf8.ValidString(value) || strings.ContainsFunc(value, isNonCharacter):
		return errors.New("environment value: not UTF-8, or a noncharacter: systemd would not read the file")
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' && r != '\n' || r == 0x7f }):
		return errors.New("environment value: a control character, which systemd would drop")
	case len(value) > maxEnvValue:
		return fmt.Errorf("environment value: longer than %d bytes, which the kernel would not take", maxEnvValue)
	}
	*v = EnvValue(value)
	return nil
}

// FileName is the path of a file below config/files: relative, clean, and
// printable, so that it means the same to everybody who reads it.
type FileName string

// UnmarshalText checks the path.
func (n *FileName) UnmarshalText(text []byte) error {
	name := string(text)
	switch {
	case name == "" || len(name) > 1024:
		return errors.New("file name: want 1 to 1024 bytes")
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unprintable):
		return fmt.Errorf("file name %s: unprintable characters, or not UTF-8", quote(name))
	case path.IsAbs(name) || path.Clean(name) != name || name == "." || name == ".." || strings.HasPrefix(name, "../"):
		return fmt.Errorf("file name %s: want a clean relative path, no .. in it", quote(name))
	}
	for part := range strings.SplitSeq(name, "/") {
		if len(part) > 255 {
			return fmt.Errorf("file name %s: a part longer than 255 bytes", quote(name))
		}
	}
	*n = FileName(name)
	return nil
}

// CredentialName is the name of a credential, as systemd takes it
// (systemd.exec(5), LoadCredential=), but for those that systemd itself
// obeys: a document must not become root's commands by another door.
type CredentialName string

// UnmarshalText checks the name.
func (n *CredentialName) UnmarshalText(text []byte) error {
	name := string(text)
	printable := func(r rune) bool { return r > ' ' && r < 0x7f && r != ':' && r != '/' }
	if name == "" || len(name) > 200 || name[0] == '.' || strings.ContainsFunc(name, func(r rune) bool { return !printable(r) }) {
		return fmt.Errorf("credential name %s: want up to 200 printable ASCII characters, no colon or slash, no dot first", quote(name))
	}
	for _, prefix := range systemdCredentials() {
		if strings.HasPrefix(name, prefix) {
			return fmt.Errorf("credential name %s: systemd obeys credentials of the name %s* (choose another)", quote(name), prefix)
		}
	}
	*n = CredentialName(name)
	return nil
}

// systemdCredentials lists how the names begin that systemd's programs and
// their like act upon, see systemd.system-credentials(7).
func systemdCredentials() []string {
	return []string{
		"agetty.", "bootagent.", "cryptsetup.", "firstboot.", "fsck.", "fstab.", "getty.", "home.", "imds.", "import.", "io.systemd.",
		"journal.", "login.", "machine.", "mount.", "network.", "passwd.", "quotacheck.", "resolve.", "shell.",
		"ssh.", "sshd.", "sysctl.", "system.", "systemd.", "sysusers.", "tmpfiles.", "tpm2.", "udev.", "userdb.", "vconsole.", "vmm.", "vsock.",
	}
}

// FlagName is the name of a feature flag.
type FlagName string

// UnmarshalText checks the name.
func (n *FlagName) UnmarshalText(text []byte) error {
	name := string(text)
	const word = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/"
	if name == "" || len(name) > 255 || strings.Trim(name, word) != "" {
		return fmt.Errorf("flag name %s: want letters, digits, dots, hyphens, underscores and slashes", quote(name))
	}
	*n = FlagName(name)
	return nil
}

// Account is a user or a group of the node, by name or number.
type Account string

// UnmarshalText checks the form; whether there is such an account is known on
// the node only.
func (a *Account) UnmarshalText(text []byte) error {
	name := string(text)
	const word = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
	if name == "" || len(name) > 32 || strings.Trim(name, word) != "" {
		return errors.New("account: want a name or a number")
	}
	*a = Account(name)
	return nil
}

// isNonCharacter tells of the code points that are valid UTF-8 to Go but not to
// systemd, see unichar_is_valid in its source.
func isNonCharacter(r rune) bool { return r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe }

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// quote shows a name that a stranger chose, in a line of a log.
func quote(name string) string {
	const most = 80
	if len(name) > most {
		name = name[:most] + "…"
	}
	return fmt.Sprintf("%q", name)
}
