package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/agent/program"
	"github.com/tokenagent/tokenagent/agent/systemd"
	"github.com/tokenagent/tokenagent/sources"
)

func newSystemdDropin() *cobra.Command {
	var from place
	var unit string
	c := &cobra.Command{
		Use:   "systemd-dropin",
		Short: "Print what the systemd unit must be allowed for this configuration",
		Long: `Print the drop-in that allows tokenagent.service what this configuration needs
and the unit as shipped does not allow: to write in the folders of its sinks, to
end the programs of other users that are its hooks or validate its tokens, to read
files as the users in whose folders they lie. It looks only at who owns these folders.

Exit codes: 0 printed, 78 the configuration has faults, 1 a user other than root
cannot see who owns a file.`,
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
			_, err = io.WriteString(c.OutOrStdout(), systemd.Dropin(unit, needs))
			return err
		},
	}
	from.configFlag(c)
	c.Flags().StringVar(&unit, "unit", "tokenagent.service", "`name` of the unit that runs the agent")
	return c
}

// needsOf are the lines that the unit as shipped lacks.
func needsOf(cfg *config.Config, unit string) ([]systemd.Need, error) {
	folders, err := systemd.ToWrite(unit, writtenFolders(cfg))
	if err != nil {
		return nil, err
	}
	files, err := foreignFiles(cfg)
	return append(append(folders, programs(cfg)...), files...), err
}

// writtenFolders are the folders of sinks and those that the agent block names, each
// with what writes there.
func writtenFolders(cfg *config.Config) map[string][]string {
	users := map[string][]string{}
	add := func(folder, user string) { users[folder] = append(users[folder], user) }
	for _, r := range cfg.Renewers {
		for _, s := range r.Sinks {
			if s.Path != "" {
				add(filepath.Dir(s.Path), "token "+plain(r.Name))
			}
		}
	}
	for _, i := range sources.Issuers(cfg) {
		set := i.Settings()
		add(set.KeysDir, "keys of issuer "+plain(set.Name))
		if !set.Site.Deep {
			add(set.Site.Root, "documents of issuer "+plain(set.Name))
		}
	}
	if dir := cfg.Settings.StateDir; dir != "" {
		add(dir, "state_dir")
	}
	if socket := cfg.Settings.Control; socket != "" {
		add(filepath.Dir(socket), "control")
	}
	return users
}

const mostUsers = 3 // that the reason of a line names

// programs lets the agent end the programs of other users, and says what every
// program needs.
func programs(cfg *config.Config) (needs []systemd.Need) {
	var all, foreign []string
	note := func(what, user string) {
		all = append(all, what)
		if user != "" && user != "root" && user != "0" {
			foreign = append(foreign, what)
		}
	}
	for _, r := range cfg.Renewers {
		for _, h := range r.Hooks {
			note(fmt.Sprintf("hook %s of token %s", h.Event, plain(r.Name)), program.UserIn(h.Key))
		}
		if r.Validation.Validate != nil {
			note("validation of token "+plain(r.Name), program.UserIn(r.Validation.Key))
		}
	}
	for _, s := range cfg.Sources {
		if s.Program {
			note(s.Name, s.RunsAs)
		}
	}
	if len(foreign) > 0 {
		needs = append(needs, systemd.Need{Why: host.Few(foreign, mostUsers) + ": another user's program, which is ended when its time is over", Line: "CapabilityBoundingSet=CAP_KILL"})
	}
	if len(all) > 0 {
		needs = append(needs, systemd.Need{Why: host.Few(all, mostUsers) + ": it runs in this sandbox; if it writes to a file, add the file's folder as ReadWritePaths="})
	}
	return needs
}

// foreignFiles lets the agent read what lies in the folders of other users, as those
// users: tokens that sources copy, keys, secrets and certificates. The unit as
// shipped may do so, but drop-ins take capabilities away.
func foreignFiles(cfg *config.Config) (needs []systemd.Need, err error) {
	for _, s := range cfg.Sources {
		for _, path := range readPaths(s) {
			owner, of, err := host.OtherOwner(path)
			if err != nil {
				return nil, fmt.Errorf("%s: the owner of %s is not known: %w; ask as root", s.Name, plain(path), err)
			}
			if owner != 0 {
				why := fmt.Sprintf("%s reads %s as %v, the owner of %s", s.Name, plain(path), owner, plain(of))
				needs = append(needs, systemd.Need{Why: why, Line: "CapabilityBoundingSet=CAP_SETUID CAP_SETGID"})
			}
		}
	}
	return needs, nil
}

// readPaths are the files that the source reads.
func readPaths(s config.Source) (paths []string) {
	if f, ok := s.Source.(agent.Follower); ok {
		if path, _ := f.Follows(); path != "" {
			paths = append(paths, path)
		}
	}
	if os.Geteuid() == 0 { // other users cannot look where keys lie
		paths = append(paths, s.Files...)
	}
	return paths
}
