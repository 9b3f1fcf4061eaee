// Package docs_test keeps the documentation true: what it shows as a
// configuration, a document or a unit is read by the code that it is for, and
// what it shows as a command for a node is run on one, in package node_test.
package docs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/agent/config"
	"github.com/bootagent/bootagent/agent/document"
)

// block is a fenced block of a page.
type block struct {
	page     string
	language string
	title    string // its first line, if that is a comment
	text     string
}

// blocks are all fenced blocks of all pages.
func blocks(t *testing.T) []block {
	t.Helper()
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	var list []block
	fence := regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```$")
	for _, page := range append(pages, "../../README.md", "../../CONTRIBUTING.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range fence.FindAllStringSubmatch(string(text), -1) {
			first, _, _ := strings.Cut(match[2], "\n")
			title, _ := strings.CutPrefix(first, "# ")
			list = append(list, block{filepath.Base(page), match[1], title, match[2]})
		}
	}
	if len(list) < 10 {
		t.Fatalf("only %d blocks found", len(list))
	}
	return list
}

func TestConfigurations(t *testing.T) {
	t.Parallel()
	for _, b := range blocks(t) {
		if b.language != "yaml" {
			continue
		}
		var err error
		switch b.title {
		case "bootagent.yaml":
			c := config.Default()
			err = config.Decode(b.page, []byte(b.text), &c)
		case "document":
			_, err = document.Parse(b.page, []byte(b.text))
		default:
			t.Errorf("%s: %q is neither bootagent.yaml nor a document", b.page, b.title)
		}
		if err != nil {
			t.Errorf("%s: %s: %v", b.page, b.title, err)
		}
	}
}

// The configurations that are shipped are read, too.
func TestShippedConfigurations(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"../../packaging/bootagent.yaml", "../../cmd/bootagent/default.yaml"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		c := config.Default()
		uncommented := regexp.MustCompile(`(?m)^#(\S|  - )`).ReplaceAllString(string(text), "$1")
		for _, text := range []string{string(text), uncommented} {
			if err := config.Decode(path, []byte(strings.ReplaceAll(text, "DIRECTORY", "/dev/shm/x")), &c); err != nil {
				t.Error(err)
			}
		}
	}
}

// Every make target that a page names is there.
func TestTargets(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("make", "-C", "../..", "help").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range []string{"README.md", "CONTRIBUTING.md"} {
		text, err := os.ReadFile("../../" + page)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range regexp.MustCompile("(?m)(?:^ {4}(?:sudo )?|`)make ([a-z-]+)").FindAllStringSubmatch(string(text), -1) {
			if !regexp.MustCompile(`(?m)^` + match[1] + ` `).Match(out) {
				t.Errorf("%s: make %s is not there", page, match[1])
			}
		}
	}
}

// Every page that another links to is there.
func TestLinks(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, "../../README.md", "../../CONTRIBUTING.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), match[1])); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}
