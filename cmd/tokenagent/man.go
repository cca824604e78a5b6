package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tokenagent/tokenagent/agent/config"
)

// newMan is for those who package tokenagent, and hidden from those who use it.
func newMan() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the manual pages, one for each command, into a folder",
		Args:   arguments(1, 1, "DIR"),
		Hidden: true,
		RunE:   func(c *cobra.Command, args []string) error { return writePages(c.Root(), args[0]) },
	}
}

// writePages writes the page of a command, and those of the commands below it.
func writePages(c *cobra.Command, folder string) error {
	var page strings.Builder
	writePage(&page, c)
	if err := os.WriteFile(filepath.Join(folder, pageName(c)+".1"), []byte(page.String()), 0o644); err != nil {
		return err
	}
	for _, sub := range listed(c) {
		if err := writePages(sub, folder); err != nil {
			return err
		}
	}
	return nil
}

// writePage writes the manual page of one command, in the language of man(7).
func writePage(w io.Writer, c *cobra.Command) {
	fmt.Fprintf(w, ".TH %s 1 %q %q\n", strings.ToUpper(pageName(c)), builtOn(), "tokenagent "+versionText())
	fmt.Fprintf(w, ".SH NAME\n%s \\- %s\n", roff(pageName(c)), roff(lowerFirst(c.Short)))
	fmt.Fprintf(w, ".SH SYNOPSIS\n\\fB%s\\fR\n", roff(synopsis(c)))
	writeText(w, "DESCRIPTION", c.Long)
	writeCommands(w, c)
	writeFlags(w, c)
	writeText(w, "EXAMPLES", c.Example)
	if !c.HasParent() {
		writeExits(w)
		writeFiles(w)
	}
	writeOthers(w, c)
}

func synopsis(c *cobra.Command) string {
	if len(listed(c)) > 0 {
		return c.CommandPath() + " COMMAND"
	}
	return c.UseLine()
}

// writeText writes a section of a command's help: paragraphs to be filled, and
// indented lines to be left as they are.
func writeText(w io.Writer, heading, text string) {
	if text == "" {
		return
	}
	fmt.Fprintf(w, ".SH %s\n", heading)
	for i, part := range strings.Split(strings.Trim(text, "\n"), "\n\n") {
		if i > 0 {
			io.WriteString(w, ".PP\n")
		}
		verbatim := strings.HasPrefix(part, "  ")
		if verbatim {
			io.WriteString(w, ".nf\n")
		}
		for line := range strings.Lines(part) {
			fmt.Fprintln(w, roff(strings.TrimPrefix(strings.TrimRight(line, "\n"), "  ")))
		}
		if verbatim {
			io.WriteString(w, ".fi\n")
		}
	}
}

func writeCommands(w io.Writer, c *cobra.Command) {
	if len(listed(c)) > 0 {
		io.WriteString(w, ".SH COMMANDS\n")
	}
	for _, sub := range listed(c) {
		fmt.Fprintf(w, ".TP\n\\fB%s\\fR(1)\n%s\n", roff(pageName(sub)), roff(sub.Short))
	}
}

func writeFlags(w io.Writer, c *cobra.Command) {
	c.InitDefaultHelpFlag()
	io.WriteString(w, ".SH OPTIONS\n")
	c.Flags().VisitAll(func(f *pflag.Flag) {
		value, words := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		if value != "" {
			value = ` \fI` + roff(value) + `\fR`
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" {
			words += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(w, ".TP\n\\fB%s\\fR%s\n%s\n", roff(name), value, roff(words))
	})
}

func writeExits(w io.Writer) {
	io.WriteString(w, ".SH EXIT STATUS\n")
	for _, exit := range []struct {
		code    int
		meaning string
	}{
		{0, "fine"},
		{exitFailed, "it was tried and failed"},
		{exitUsage, "the command line makes no sense, or names no token that there is"},
		{exitNotValid, "a required token is not valid"},
		{exitNoAgent, "no agent answers"},
		{exitConfiguration, "the configuration has faults"},
	} {
		fmt.Fprintf(w, ".TP\n%d\n%s\n", exit.code, exit.meaning)
	}
}

func writeFiles(w io.Writer) {
	io.WriteString(w, ".SH FILES\n")
	for _, path := range config.DefaultPaths() {
		fmt.Fprintf(w, ".TP\n\\fI%s\\fR\nthe configuration, unless \\-\\-config names another\n", roff(path))
	}
	io.WriteString(w, ".TP\n\\fI/var/lib/tokenagent\\fR\nwhat the agent remembers across restarts; never a token\n")
}

func writeOthers(w io.Writer, c *cobra.Command) {
	io.WriteString(w, ".SH SEE ALSO\n")
	if c.HasParent() {
		fmt.Fprintf(w, "\\fB%s\\fR(1)\n.PP\n", roff(pageName(c.Parent())))
	}
	io.WriteString(w, "The reference of the configuration, \\fIconfiguration.md\\fR, and the operator's guide, \\fIoperating.md\\fR, in the folder of the package's documents.\n")
}

// listed are the commands below c that its help lists, but for cobra's own:
// a package brings the completions along.
func listed(c *cobra.Command) (subs []*cobra.Command) {
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "completion" {
			subs = append(subs, sub)
		}
	}
	return subs
}

// pageName is that of a command's page: tokenagent-token-create.
func pageName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// builtOn is the date of this program's source; "" in a build that has none.
func builtOn() string {
	seconds, err := strconv.ParseInt(built, 10, 64)
	if err != nil {
		return ""
	}
	return time.Unix(seconds, 0).UTC().Format(time.DateOnly)
}

func lowerFirst(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToLower(s[:1]) + s[1:]
}

// roff escapes what troff would take for its own, or set as it is not typed. A
// line must not begin with a full stop; the zero-width \& is put before one.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, `-`, `\-`, `'`, `\(aq`, "`", `\(ga`, `~`, `\(ti`, `^`, `\(ha`, `…`, `...`).Replace(text)
	if strings.HasPrefix(text, ".") {
		text = `\&` + text
	}
	return text
}
