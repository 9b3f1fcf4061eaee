package node_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/agent/status"
	"github.com/bootagent/bootagent/test/rig"
)

// environUnit writes down what systemd read from the environment file.
const environUnit = `[Unit]
Requires=bootagent-boot.service
After=bootagent-boot.service
[Service]
Type=oneshot
EnvironmentFile=/run/bootagent/config/env
ExecStart=/bin/cat /proc/self/environ
StandardOutput=truncate:/run/environ
[Install]
WantedBy=multi-user.target
`

// What systemd reads from the environment file is what the document said.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	rig.Need(t)
	want := values()
	w := newWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(rw).Encode(map[string]any{"version": 1, "env": want})
	})
	image := w.image(t)
	image.Files = map[string]rig.File{
		"/etc/systemd/system/environ.service":                       {Content: environUnit},
		"/etc/systemd/system/bootagent-boot.service.d/secrets.conf": image.Files["/etc/systemd/system/bootagent-boot.service.d/secrets.conf"],
	}
	image.Enable = []string{"environ.service"}
	node := rig.Boot(t, image)
	awaitState(t, node, status.Ready)

	got := map[string]string{}
	for entry := range strings.SplitSeq(node.MustRun("cat", "/run/environ"), "\x00") {
		name, value, _ := strings.Cut(entry, "=")
		got[name] = value
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s: systemd read %q, the document says %q", name, got[name], value)
		}
	}
	t.Logf("%d variables", len(want))
}

// values are some that break naive quoting, and some hundred by chance, always
// the same.
func values() map[string]string {
	env := map[string]string{
		"EMPTY": "", "BLANKS": "  \t ", "HASH": "# no comment", "SEMICOLON": "; no comment", "QUOTES": `"'"'`,
		"DOLLAR": "$HOME ${HOME} $$ $(id)", "BACKSLASHES": `\ \\ \n \$ \" \`, "LINES": "\na\n\n b\n", "TRAILING": "x\\",
		"PERCENT": "%h %% %n", "UTF8": "schöne Grüße, 世界 🚀", "EQUALS": "a=b=c", "LONG": strings.Repeat(`a "b" \`, 5000),
	}
	const alphabet = "ab \t\n\\\"'`$#;=%{}()äß世🚀"
	letters := []rune(alphabet)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		var value strings.Builder
		for range random.IntN(20) {
			value.WriteRune(letters[random.IntN(len(letters))])
		}
		env[fmt.Sprintf("R%d", i)] = value.String()
	}
	return env
}
