// Package man writes the manual pages of a program from its cobra commands, in the
// language of man(7). Only the packaging uses it.
package man

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A Manual is what the pages say beside the help of the commands.
type Manual struct {
	Source string  // the program and its version
	Date   string  // of the source, as 2006-01-02; may be ""
	Exits  []Entry // exit codes; on the page of the root command
	Files  []Entry // likewise
	Also   string  // what else to read, as a sentence
}

// An Entry is a word and what it means.
type Entry struct{ Word, Meaning string }

// Write writes a page for the command, and for each command below it, into the folder.
func (m Manual) Write(c *cobra.Command, folder string) error {
	var page strings.Builder
	m.writePage(&page, c)
	if err := os.WriteFile(filepath.Join(folder, Name(c)+".1"), []byte(page.String()), 0o644); err != nil {
		return err
	}
	for _, sub := range listed(c) {
		if err := m.Write(sub, folder); err != nil {
			return err
		}
	}
	return nil
}

func (m Manual) writePage(w io.Writer, c *cobra.Command) {
	fmt.Fprintf(w, ".TH %s 1 %q %q\n", strings.ToUpper(Name(c)), m.Date, m.Source)
	fmt.Fprintf(w, ".SH NAME\n%s \\- %s\n", Escape(Name(c)), Escape(lowerFirst(c.Short)))
	fmt.Fprintf(w, ".SH SYNOPSIS\n\\fB%s\\fR\n", Escape(synopsis(c)))
	writeText(w, "DESCRIPTION", c.Long)
	writeCommands(w, c)
	writeFlags(w, c)
	writeText(w, "EXAMPLES", c.Example)
	if !c.HasParent() {
		writeEntries(w, "EXIT STATUS", m.Exits)
		writeEntries(w, "FILES", m.Files)
	}
	io.WriteString(w, ".SH SEE ALSO\n")
	if c.HasParent() {
		fmt.Fprintf(w, "\\fB%s\\fR(1)\n.PP\n", Escape(Name(c.Parent())))
	}
	fmt.Fprintln(w, Escape(m.Also))
}

func synopsis(c *cobra.Command) string {
	if len(listed(c)) > 0 {
		return c.CommandPath() + " COMMAND"
	}
	return c.UseLine()
}

// writeText writes a section of a command's help: paragraphs that troff fills, and
// indented lines that it leaves as they are.
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
			fmt.Fprintln(w, Escape(strings.TrimPrefix(strings.TrimRight(line, "\n"), "  ")))
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
		fmt.Fprintf(w, ".TP\n\\fB%s\\fR(1)\n%s\n", Escape(Name(sub)), Escape(sub.Short))
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
			value = ` \fI` + Escape(value) + `\fR`
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" {
			words += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(w, ".TP\n\\fB%s\\fR%s\n%s\n", Escape(name), value, Escape(words))
	})
}

func writeEntries(w io.Writer, heading string, entries []Entry) {
	fmt.Fprintf(w, ".SH %s\n", heading)
	for _, e := range entries {
		fmt.Fprintf(w, ".TP\n\\fI%s\\fR\n%s\n", Escape(e.Word), Escape(e.Meaning))
	}
}

// listed are the commands below c that its help lists, without cobra's own for
// completions: packages contain these.
func listed(c *cobra.Command) (subs []*cobra.Command) {
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "completion" {
			subs = append(subs, sub)
		}
	}
	return subs
}

// Name is the name of the command's page: tokenagent-token-create.
func Name(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

func lowerFirst(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToLower(s[:1]) + s[1:]
}

// Escape returns the text as troff input that shows it as it is typed. A line must
// not begin with a full stop, so one gets the zero-width \& before it.
func Escape(text string) string {
	text = strings.NewReplacer(`\`, `\e`, `-`, `\-`, `'`, `\(aq`, "`", `\(ga`, `~`, `\(ti`, `^`, `\(ha`, `…`, `...`).Replace(text)
	if strings.HasPrefix(text, ".") {
		text = `\&` + text
	}
	return text
}
