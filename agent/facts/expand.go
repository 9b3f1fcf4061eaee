package facts

import (
	"fmt"
	"slices"
	"strings"
)

// Names are what may stand in ${…}, see [Facts.Lookup].
func Names() []string {
	return []string{
		"address", "architecture", "boot_id", "hostname", "image_id", "image_version",
		"kernel", "machine_id", "os_id", "os_version",
	}
}

// Lookup is the fact of that name, empty if it is not known here; false if
// there is none of that name.
func (f Facts) Lookup(name string) (string, bool) {
	switch name {
	case "address":
		return strings.Join(f.Addresses[:min(1, len(f.Addresses))], ""), true
	case "architecture":
		return f.Architecture, true
	case "boot_id":
		return f.BootID, true
	case "hostname":
		return f.Hostname, true
	case "image_id":
		return f.OS.ImageID, true
	case "image_version":
		return f.OS.ImageVersion, true
	case "kernel":
		return f.Kernel, true
	case "machine_id":
		return f.MachineID, true
	case "os_id":
		return f.OS.ID, true
	case "os_version":
		return f.OS.VersionID, true
	}
	return "", false
}

// Expand replaces each ${NAME} of text by what lookup says. A name that is
// unknown, or whose value is empty, is an error: a node must not boot under
// an identity, or from a source, that lacks a part. A dollar sign that is
// not followed by a brace stands for itself.
func Expand(text string, lookup func(name string) (string, bool)) (string, error) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "${")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return "", fmt.Errorf("${%s: no closing brace", name)
		}
		value, known := lookup(name)
		switch {
		case !known:
			return "", fmt.Errorf("${%s}: unknown fact (known: %s)", name, strings.Join(knownNames(lookup), ", "))
		case value == "":
			return "", fmt.Errorf("${%s}: not known on this node", name)
		}
		out.WriteString(value)
		text = after
	}
}

// knownNames are those that lookup answers, of all that anybody does.
func knownNames(lookup func(string) (string, bool)) []string {
	names := append(Names(), "role", "ordinal", "directory")
	slices.Sort(names)
	return slices.DeleteFunc(names, func(name string) bool {
		_, ok := lookup(name)
		return !ok
	})
}
