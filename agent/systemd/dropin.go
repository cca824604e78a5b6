package systemd

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/tokenagent/tokenagent/agent/host"
)

// A Need is one line of a drop-in, with the reason for it.
type Need struct {
	Why  string
	Line string // "": the unit as shipped allows it, but only after what Why says
}

// Dropin is the drop-in that allows the unit what it needs, as systemd.unit(5)
// describes it.
func Dropin(unit string, needs []Need) string {
	var text strings.Builder
	if slices.ContainsFunc(needs, func(n Need) bool { return n.Line != "" }) {
		fmt.Fprintf(&text, "# What %s needs for its configuration. Save it as\n"+
			"#   /etc/systemd/system/%[1]s.d/configuration.conf\n"+
			"# and then: systemctl daemon-reload && systemctl restart %[1]s\n[Service]\n", unit)
	} else {
		fmt.Fprintf(&text, "# %s as shipped allows what its configuration needs.\n", unit)
	}
	for _, n := range needs {
		fmt.Fprintf(&text, "\n# %s\n", n.Why)
		if n.Line != "" {
			fmt.Fprintln(&text, n.Line)
		}
	}
	return text.String()
}

// opened are the folders that every unit as shipped may write in.
var opened = []string{"/tmp", "/etc/condor/tokens.d", "/etc/condor-ce/tokens.d"}

// ownFolders are those that systemd makes for the unit: for tokenagent@site.service
// /var/lib/tokenagent/site and /run/tokenagent/site.
func ownFolders(unit string) []string {
	name := "tokenagent"
	if _, instance, is := strings.Cut(strings.TrimSuffix(unit, ".service"), "@"); is {
		name += "/" + instance
	}
	return []string{"/var/lib/" + name, "/run/" + name}
}

// ToWrite is what the unit needs to write in the folders, each of which is given
// with its users. An error means that no unit file can hold a path.
func ToWrite(unit string, users map[string][]string) (needs []Need, err error) {
	for _, folder := range slices.Sorted(maps.Keys(users)) {
		if slices.ContainsFunc(ownFolders(unit), func(own string) bool { return host.Inside(folder, own) }) {
			continue
		}
		n, err := folderNeed(folder, slices.Compact(users[folder]))
		if err != nil {
			return nil, err
		}
		if n.Why != "" {
			needs = append(needs, n)
		}
	}
	return needs, nil
}

// folderNeed is what the unit needs to write in the folder; the zero Need for
// nothing.
func folderNeed(folder string, users []string) (n Need, err error) {
	isOpen := false
	for _, open := range opened {
		if host.Inside(folder, open) && !missing(open) {
			return Need{}, nil
		}
		isOpen = isOpen || host.Inside(folder, open)
	}
	n.Why = host.Few(users, 3)
	if missing(folder) {
		n.Why += fmt.Sprintf("; there is no %s yet: make it before the service starts, which opens no folder that comes later", host.Printable(folder, "", '?'))
	}
	if isOpen {
		return n, nil
	}
	word, err := unitWord("-" + folder)
	n.Line = "ReadWritePaths=" + word
	return n, err
}

func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// unitWord is a path as a unit file takes it, where a backslash means itself.
func unitWord(path string) (string, error) {
	quote := ""
	switch {
	case strings.ContainsFunc(path, unicode.IsControl), strings.Contains(path, `"`) && strings.Contains(path, "'"):
		return "", fmt.Errorf("%q: no unit file can hold this path; choose another", path)
	case strings.Contains(path, `"`):
		quote = "'"
	case strings.ContainsFunc(path, unicode.IsSpace), strings.Contains(path, "'"):
		quote = `"`
	}
	return quote + strings.ReplaceAll(path, "%", "%%") + quote, nil
}
