package systemd

import (
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/sirupsen/logrus"
)

// UnderJournal tells whether what this process writes to its standard error
// goes to the journal (JOURNAL_STREAM in systemd.exec(5)): then it had better
// speak to the journal itself, with fields.
func UnderJournal() bool {
	var st syscall.Stat_t
	if syscall.Fstat(int(os.Stderr.Fd()), &st) != nil {
		return false
	}
	return os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// JournalHook sends what is logged to the journal, by its native protocol.
type JournalHook struct{}

// Levels are all.
func (JournalHook) Levels() []logrus.Level { return logrus.AllLevels }

// Fire sends one entry. One that the journal does not take goes to standard
// error in its simplest form.
func (JournalHook) Fire(entry *logrus.Entry) error {
	if err := journal.Send(Message(entry), Priority(entry.Level), Fields(entry)); err != nil {
		fmt.Fprintln(os.Stderr, Message(entry))
	}
	return nil
}

// Priority is the syslog priority of a level.
func Priority(level logrus.Level) journal.Priority {
	switch level {
	case logrus.PanicLevel, logrus.FatalLevel:
		return journal.PriCrit
	case logrus.ErrorLevel:
		return journal.PriErr
	case logrus.WarnLevel:
		return journal.PriWarning
	case logrus.InfoLevel:
		return journal.PriInfo
	}
	return journal.PriDebug
}

// Message is the entry's constant message, and behind it what it is about:
// the one line that people see, whatever they read it with.
func Message(entry *logrus.Entry) string {
	words := []string{entry.Message}
	for _, name := range []string{"step", "sink", "source", "registry"} {
		value, ok := entry.Data[name]
		if ok && !strings.Contains(fmt.Sprint(entry.Data[logrus.ErrorKey]), fmt.Sprint(value)) { // once is enough
			words = append(words, fmt.Sprint(value))
		}
	}
	if err, ok := entry.Data[logrus.ErrorKey]; ok {
		words = append(words, fmt.Sprint(err))
	}
	return strings.Join(words, ": ")
}

// Fields are the entry's fields under the journal's kind of names: step is
// BOOTAGENT_STEP; message_id is the journal's own MESSAGE_ID.
func Fields(entry *logrus.Entry) map[string]string {
	fields := map[string]string{"SYSLOG_IDENTIFIER": "bootagent"}
	for name, value := range entry.Data {
		name = strings.Map(fieldRune, name)
		if name != "MESSAGE_ID" {
			name = "BOOTAGENT_" + name
		}
		fields[name] = fmt.Sprint(value)
	}
	return fields
}

// fieldRune makes a character one of those that names of fields have.
func fieldRune(r rune) rune {
	switch {
	case 'a' <= r && r <= 'z':
		return r - 'a' + 'A'
	case 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return r
	}
	return '_'
}
