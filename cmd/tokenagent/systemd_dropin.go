package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/hooks"
)

func newSystemdDropin() *cobra.Command {
	var from place
	var unit string
	c := &cobra.Command{
		Use:   "systemd-dropin",
		Short: "Print what the systemd unit must be allowed for this configuration",
		Long: `Print the drop-in that allows tokenagent.service what this configuration needs
and the unit as shipped does not allow: to write in the folders of its sinks, to
end the programs of other users that are its hooks, to read files as the users in
whose folders they lie. Of the machine it looks only at whose these are.

Exit codes: 0 printed, 78 the configuration has faults, 1 somebody else than
root cannot tell whose a file is.`,
		Example: `  tokenagent systemd-dropin
  tokenagent systemd-dropin --config /etc/tokenagent/site.hcl --unit tokenagent@site.service`,
		Args: arguments(0, 0, ""),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := from.load(c.Context(), true) // its credentials are there only for the service
			if err != nil {
				return err
			}
			unit = strings.TrimSuffix(unit, ".service") + ".service"
			needs, err := needsOf(cfg, unit)
			if err != nil {
				return err
			}
			return printDropin(c.OutOrStdout(), unit, needs)
		},
	}
	from.configFlag(c)
	c.Flags().StringVar(&unit, "unit", "tokenagent.service", "`name` of the unit that runs the agent")
	return c
}

// A need is one line of a drop-in, with the reason for it.
type need struct {
	why  string
	line string // "": what the unit as shipped allows, but only after what why says
}

// needsOf are the lines that the unit as shipped lacks.
func needsOf(cfg *config.Config, unit string) (needs []need, err error) {
	for _, find := range []func(*config.Config, string) ([]need, error){writtenFolders, foreignPrograms, foreignFiles} {
		found, err := find(cfg, unit)
		if err != nil {
			return nil, err
		}
		needs = append(needs, found...)
	}
	return needs, nil
}

func printDropin(w io.Writer, unit string, needs []need) error {
	var text strings.Builder
	lines := slices.ContainsFunc(needs, func(n need) bool { return n.line != "" })
	if lines {
		fmt.Fprintf(&text, "# What %s needs for its configuration. Save it as\n"+
			"#   /etc/systemd/system/%[1]s.d/configuration.conf\n"+
			"# and then: systemctl daemon-reload && systemctl restart %[1]s\n[Service]\n", unit)
	} else {
		fmt.Fprintf(&text, "# %s as shipped allows what its configuration needs.\n", unit)
	}
	for _, n := range needs {
		fmt.Fprintf(&text, "\n# %s\n", n.why)
		if n.line != "" {
			fmt.Fprintln(&text, n.line)
		}
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// opened are the folders that every unit as shipped may write in.
var opened = []string{"/tmp", "/etc/condor/tokens.d", "/etc/condor-ce/tokens.d"}

// unitFolders are those that systemd makes for the unit: of tokenagent@site.service
// /var/lib/tokenagent/site and /run/tokenagent/site.
func unitFolders(unit string) []string {
	name := "tokenagent"
	if _, instance, is := strings.Cut(strings.TrimSuffix(unit, ".service"), "@"); is {
		name += "/" + instance
	}
	return []string{"/var/lib/" + name, "/run/" + name}
}

// writtenFolders opens the folders of sinks, and those that the agent block names.
func writtenFolders(cfg *config.Config, unit string) (needs []need, err error) {
	users := map[string][]string{} // by folder
	for _, r := range cfg.Renewers {
		for _, s := range r.Sinks {
			if s.Path != "" {
				folder := filepath.Dir(s.Path)
				users[folder] = append(users[folder], "token "+plain(r.Name))
			}
		}
	}
	if dir := cfg.Settings.StateDir; dir != "" {
		users[dir] = append(users[dir], "state_dir")
	}
	if socket := cfg.Settings.Control; socket != "" {
		users[filepath.Dir(socket)] = append(users[filepath.Dir(socket)], "control")
	}
	for _, folder := range slices.Sorted(maps.Keys(users)) {
		if slices.ContainsFunc(unitFolders(unit), func(own string) bool { return inside(folder, own) }) {
			continue
		}
		n, err := folderNeed(folder, slices.Compact(users[folder]))
		if err != nil {
			return nil, err
		}
		if n.why != "" {
			needs = append(needs, n)
		}
	}
	return needs, nil
}

// folderNeed is what it takes to write in the folder; nothing where why is "".
func folderNeed(folder string, users []string) (n need, err error) {
	isOpen := false
	for _, open := range opened {
		if inside(folder, open) && !missing(open) {
			return need{}, nil
		}
		isOpen = isOpen || inside(folder, open)
	}
	n.why = few(users)
	if missing(folder) {
		n.why += fmt.Sprintf("; there is no %s yet: make it before the service starts, which opens no folder that comes later", plain(folder))
	}
	if isOpen {
		return n, nil
	}
	word, err := unitWord("-" + folder)
	n.line = "ReadWritePaths=" + word
	return n, err
}

func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// few names the first of them.
func few(names []string) string {
	const most = 3
	if len(names) > most {
		names = append(slices.Clip(names[:most]), fmt.Sprintf("and %d more", len(names)-most))
	}
	return strings.Join(names, ", ")
}

// inside reports whether the path is the folder or lies in it.
func inside(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

// unitWord is a path as a unit file takes it, where backslashes are what they are.
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

// foreignPrograms lets the agent end the programs of other users, and says what
// holds for all programs.
func foreignPrograms(cfg *config.Config, _ string) (needs []need, err error) {
	var all, foreign []string
	note := func(what, user string) {
		all = append(all, what)
		if user != "" && user != "root" && user != "0" {
			foreign = append(foreign, what)
		}
	}
	for _, r := range cfg.Renewers {
		for _, h := range r.Hooks {
			note(fmt.Sprintf("hook %s of token %s", h.Event, plain(r.Name)), hookUser(h))
		}
	}
	for _, s := range cfg.Sources {
		if s.Program {
			note(s.Name, s.RunsAs)
		}
	}
	if len(foreign) > 0 {
		needs = append(needs, need{few(foreign) + ": another user's program, which is ended when its time is over", "CapabilityBoundingSet=CAP_KILL"})
	}
	if len(all) > 0 {
		needs = append(needs, need{few(all) + ": it runs in this sandbox; if it writes to a file, add the file's folder as ReadWritePaths=", ""})
	}
	return needs, nil
}

// hookUser is the user that the hook names; see agent/program.
func hookUser(h hooks.Hook) string {
	first, _, _ := strings.Cut(h.Key, " ")
	name, named := strings.CutPrefix(first, "user=")
	if !named {
		return ""
	}
	return name
}

// foreignFiles lets the agent read what lies in the folders of other users, as
// those users: tokens that sources copy, keys, secrets and certificates. The unit as
// shipped may, but drop-ins take capabilities away.
func foreignFiles(cfg *config.Config, _ string) (needs []need, err error) {
	for _, s := range cfg.Sources {
		for _, path := range readPaths(s) {
			keeper, of, err := keeperOf(path)
			if err != nil {
				return nil, fmt.Errorf("%s: it cannot be told whose %s is: %w; ask as root", s.Name, plain(path), err)
			}
			if keeper != 0 {
				why := fmt.Sprintf("%s reads %s as %s, to whom %s belongs", s.Name, plain(path), userName(keeper), plain(of))
				needs = append(needs, need{why, "CapabilityBoundingSet=CAP_SETUID CAP_SETGID"})
			}
		}
	}
	return needs, nil
}

// readPaths are the files that the source reads.
func readPaths(s config.Source) (paths []string) {
	if f, ok := s.Source.(agent.Follower); ok {
		path, _ := f.Follows()
		paths = append(paths, path)
	}
	if os.Geteuid() == 0 { // keys lie where others may not look
		paths = append(paths, s.Files...)
	}
	return paths
}

// keeperOf is the user, other than root, to whom the file or a folder above it
// belongs, and which of them; 0 for none.
func keeperOf(path string) (uid uint32, of string, err error) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	for ; ; path = filepath.Dir(path) {
		info, err := os.Lstat(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, path, err
		}
		if err == nil && info.Sys().(*syscall.Stat_t).Uid != 0 {
			return info.Sys().(*syscall.Stat_t).Uid, path, nil
		}
		if path == "/" {
			return 0, "", nil
		}
	}
}

func userName(uid uint32) string {
	number := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(number); err == nil {
		return u.Username
	}
	return "user " + number
}
