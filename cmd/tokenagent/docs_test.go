package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/examples/configs"
	"github.com/tokenagent/tokenagent/sinks"
	"github.com/tokenagent/tokenagent/sources"
)

// What the documents show, a reader copies; so all of it is loaded or run here.

// documents are those in which configurations may stand, and how many each has
// at least.
var documents = map[string]int{
	"README.md": 1, "CONTRIBUTING.md": 0, "SECURITY.md": 0,
	"docs/architecture.md": 0, "docs/configuration.md": 7, "docs/operating.md": 0, "docs/security.md": 0, "docs/install.md": 1, "docs/containers.md": 0, "docs/htcondor.md": 0, "docs/jobs.md": 0, "docs/simple-issuer.md": 1, "docs/clustercockpit.md": 1,
}

func TestEveryDocumentedConfigurationLoads(t *testing.T) {
	for name, least := range documents {
		blocks := fenced(readFile(t, filepath.Join(root, name)), "hcl")
		if len(blocks) < least {
			t.Errorf("%s shows %d configurations; it had %d", name, len(blocks), least)
		}
		for i, block := range blocks {
			t.Run(fmt.Sprintf("%s block %d", name, i+1), func(t *testing.T) { mustLoad(t, block) })
		}
	}
}

func TestEveryConfigurationInADocCommentLoads(t *testing.T) {
	shown := map[string]bool{}
	for pkg, files := range packages(t) {
		for _, block := range commented(files) {
			shown[strings.Fields(block)[0]] = true
			t.Run(pkg, func(t *testing.T) { mustLoad(t, block) })
		}
	}
	if !shown["source"] || !shown["sink"] || !shown["hook"] || !shown["validate"] {
		t.Error("the doc comments show no source, no sink, no hook or no validate block: each kind has an example block")
	}
}

func TestEveryExampleLoads(t *testing.T) {
	names, err := fs.Glob(configs.Files, "*.hcl")
	if err != nil || len(names) < 3 {
		t.Fatalf("found %q, %v; want all examples", names, err)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			text, err := fs.ReadFile(configs.Files, name)
			if err != nil {
				t.Fatal(err)
			}
			if name == "quickstart.hcl" { // is made to be looked at, and says that check warns of it
				text = bytes.Replace(text, []byte(`lifetime = "1m"`), []byte(`lifetime = "1h"`), 1)
			}
			mustLoad(t, string(text))
		})
	}
}

// Who copies an example for HTCondor or GlideinWMS wants to know with which versions
// it was tried, or where it was read.
func TestExamplesOfHTCondorSayTheirVersions(t *testing.T) {
	said := regexp.MustCompile(`(?i)(tried\s+with|read\s+in)\s+HTCondor\b[^.]*\b2\d\.(\d|x)`)
	for heading, section := range sections(readFile(t, filepath.Join(root, "docs/configuration.md"))) {
		if strings.HasPrefix(heading, `source "htcondor`) && !said.MatchString(section) {
			t.Errorf("the reference of %s does not say with which HTCondor it was tried", heading)
		}
		for _, snippet := range fenced(section, "hcl") {
			if strings.HasPrefix(heading, `source "command"`) && strings.Contains(snippet, "condor_token_fetch") {
				t.Errorf("%s: condor_token_fetch is for source \"htcondor_fetch\"", heading)
			}
		}
	}
	names, err := fs.Glob(configs.Files, "*.hcl")
	check(t, err)
	found := 0
	for _, name := range names {
		text, err := fs.ReadFile(configs.Files, name)
		check(t, err)
		comments := strings.ReplaceAll(string(text), "\n# ", " ")
		if !regexp.MustCompile(`(?im)^(source "htcondor|#[^\n]*(HTCondor|GlideinWMS))`).MatchString(string(text)) {
			continue
		}
		found++
		if !said.MatchString(comments) {
			t.Errorf("%s does not say with which HTCondor it was tried, or in which it was read", name)
		}
		if strings.Contains(comments, "A GlideinWMS") && !regexp.MustCompile(`commit [0-9a-f]{8} of glideinWMS`).MatchString(comments) {
			t.Errorf("%s does not say where GlideinWMS was read", name)
		}
	}
	if found < 6 {
		t.Errorf("found %d examples of HTCondor", found)
	}
}

// asksIssuer is the section with what all sources have that ask an issuer; theirs
// refer to it.
const asksIssuer = "What asks an issuer"

// The reference has a row for each attribute that the code knows, the code knows
// each attribute that has a row, and the example of the section sets them all.
func TestReferenceHasEveryAttribute(t *testing.T) {
	reference := sections(readFile(t, filepath.Join(root, "docs/configuration.md")))
	for heading, text := range everyBlock() {
		t.Run(heading, func(t *testing.T) {
			section := reference[heading]
			if strings.Contains(section, "(#what-asks-an-issuer)") {
				section += reference[asksIssuer]
			}
			rows := attributeRows(section)
			slices.Sort(rows)
			if known := knownAttributes(t, text); !slices.Equal(rows, known) {
				t.Errorf("the reference has %q, the code knows %q", rows, known)
			}
			example := strings.Join(fenced(section, "hcl"), "\n")
			for _, name := range rows {
				if !regexp.MustCompile(`(?m)^ *` + name + ` += `).MatchString(example) {
					t.Errorf("no example sets %s", name)
				}
			}
		})
	}
}

// The page on security names the tests that hold what it says.
func TestSecurityNamesTestsThatThereAre(t *testing.T) {
	var all strings.Builder
	for _, folder := range []string{"agent", "cmd", "sinks", "sources"} {
		check(t, filepath.WalkDir(filepath.Join(root, folder), func(path string, _ fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, "_test.go") {
				all.WriteString(readFile(t, path))
			}
			return err
		}))
	}
	named := regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(readFile(t, filepath.Join(root, "docs/security.md")), -1)
	if len(named) < 20 {
		t.Errorf("it names only %d tests", len(named))
	}
	for _, name := range named {
		if !strings.Contains(all.String(), "\nfunc "+name[1]+"(t *testing.T)") {
			t.Errorf("there is no %s", name[1])
		}
	}
}

func TestReadmeHasEveryCommand(t *testing.T) {
	section := sections(readFile(t, filepath.Join(root, "README.md")))["Commands"]
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			walk(sub)
		}
		name := strings.TrimPrefix(c.CommandPath(), "tokenagent ")
		if c.HasParent() && !c.HasSubCommands() && !strings.Contains(section, "`"+name) {
			t.Errorf("the table of commands has no %q", name)
		}
	}
	walk(newRoot())
	for _, kind := range initKinds() {
		if !strings.Contains(section, kind) {
			t.Errorf("the row of init has no %s", kind)
		}
	}
}

func TestReadmeHasEveryExitCode(t *testing.T) {
	section := sections(readFile(t, filepath.Join(root, "README.md")))["Exit codes"]
	var rows []string
	for _, m := range regexp.MustCompile(`(?m)^\| (\d+) \|`).FindAllStringSubmatch(section, -1) {
		rows = append(rows, m[1])
	}
	codes := fmt.Sprint([]int{0, exitFailed, exitUsage, exitNotValid, exitNoAgent, exitConfiguration})
	if fmt.Sprint(rows) != codes {
		t.Errorf("the table has %v, the code knows %s", rows, codes)
	}
}

// The commands that a reader of the README types to have a first token, in order.
func TestReadmeCommandsRun(t *testing.T) {
	text := sections(readFile(t, filepath.Join(root, "README.md")))["Instead of a cron job"]
	lines := strings.Split(strings.TrimSpace(fenced(text, "sh")[0]), "\n")
	if len(lines) < 4 {
		t.Fatalf("found %q; want at least init, check, once and inspect", lines)
	}
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("STATE_DIRECTORY", dir) // and away from an agent of this machine
	t.Setenv("RUNTIME_DIRECTORY", dir)
	for _, line := range lines {
		args, ours := strings.CutPrefix(line, "tokenagent ")
		if !ours {
			t.Fatalf("%s is no command of ours", line)
		}
		succeed(t, strings.Fields(args)...)
	}
}

func TestArchitectureExplainsEveryDependency(t *testing.T) {
	text := readFile(t, filepath.Join(root, "docs/architecture.md"))
	for dependency := range foreign {
		name := strings.TrimPrefix(dependency, "github.com/")
		if !strings.Contains(text, strings.TrimSuffix(name, "/unix")) {
			t.Errorf("docs/architecture.md gives no reason for %s", dependency)
		}
	}
}

// mustLoad loads text, completed to a whole configuration, as on a machine that
// it is not meant for. A warning is a fault here: what we show is good.
func mustLoad(t *testing.T, text string) {
	t.Helper()
	if _, faults := load(t, complete(text)); len(faults) > 0 {
		t.Errorf("%s\nin:\n%s", textOf(faults), text)
	}
}

func load(t *testing.T, text string) (*config.Config, config.Faults) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tokenagent.hcl")
	writeFile(t, file, []byte(text))
	env := config.Environment{
		Machine: config.Machine{
			Getenv:   func(string) string { return "set" },
			Hostname: func() (string, error) { return "host", nil },
			FQDN:     func() (string, error) { return "host.example.org", nil },
		},
		Credentials: "/run/credentials/tokenagent.service",
		Discovery:   "/run/user/0/bt_u0",
		Definitions: true,
	}
	return config.Load(t.Context(), []string{file}, kinds, env)
}

// complete adds to a fragment what it takes for granted: a token around a sink, hook
// or validate block, the source "site" and a token.
func complete(text string) string {
	has := func(block string) bool { return regexp.MustCompile(`(?m)^` + block + `\b`).MatchString(text) }
	if has("hook") || has("validate") {
		text += otherSink
	}
	if has("sink") {
		text = "token \"around\" {\n" + tokenAttributes + text + "\n}\n"
	}
	if !has("token") && !has("sink") {
		text += "\ntoken \"other\" {\n" + tokenAttributes + otherSink + "}\n"
	}
	if strings.Contains(text, "source.local_key.site") && !regexp.MustCompile(`(?m)^source "local_key" "site"`).MatchString(text) {
		text += "\nsource \"local_key\" \"site\" {\nissuer = \"https://tokens.example.org\"\nkey_file = \"/keys/site.pem\"\n}\n"
	}
	return text
}

const otherSink = "sink \"file\" {\npath = \"/other\"\n}\n"

const tokenAttributes = `
source   = source.local_key.site
profile  = "wlcg"
subject  = "other"
audience = ["https://wlcg.cern.ch/jwt/v1/any"]
scope    = ["storage.read:/"]
`

// everyBlock is each block that there is, under its heading in the reference,
// with an attribute that none has.
func everyBlock() map[string]string {
	blocks := map[string]string{
		`agent`:      "agent {\nunknown_to_all = 1\n}",
		`token NAME`: "token \"x\" {\nunknown_to_all = 1\n}",
		`hook EVENT`: "token \"x\" {\nhook \"on_first\" {\nunknown_to_all = 1\n}\n}",
		`validate`:   "token \"x\" {\nvalidate {\nunknown_to_all = 1\n}\n}",
		`renew`:      "token \"x\" {\nrenew {\nunknown_to_all = 1\n}\n}",
	}
	for kind := range sources.Kinds {
		blocks[fmt.Sprintf("source %q NAME", kind)] = fmt.Sprintf("source %q \"x\" {\nunknown_to_all = 1\n}", kind)
	}
	for kind := range sinks.Kinds {
		blocks[fmt.Sprintf("sink %q", kind)] = fmt.Sprintf("token \"x\" {\nsink %q {\nunknown_to_all = 1\n}\n}", kind)
	}
	return blocks
}

// knownAttributes are those that the fault of an unknown one offers.
func knownAttributes(t *testing.T, text string) []string {
	t.Helper()
	_, faults := load(t, text)
	for _, f := range faults {
		if f.Summary != "unknown attribute unknown_to_all" {
			continue
		}
		_, names, _ := strings.Cut(f.Detail, " has ")
		names, _, _ = strings.Cut(names, ", and the block")
		known := slices.DeleteFunc(strings.Split(names, ", "), func(name string) bool { return name == "for_each" && strings.HasPrefix(text, "source") }) // has a section of its own
		slices.Sort(known)
		return known
	}
	t.Fatalf("no fault names the attributes:\n%s", textOf(faults))
	return nil
}

// sections are the texts of a document under their headings. A section holds
// neither those below nor those beside it.
func sections(document string) map[string]string {
	found := map[string]string{}
	heading, code := "", false
	for line := range strings.Lines(document) {
		code = code != strings.HasPrefix(line, "```")
		if !code && strings.HasPrefix(line, "#") {
			heading = strings.TrimSpace(strings.TrimLeft(line, "#"))
			continue
		}
		found[heading] += line
	}
	return found
}

// fenced are the code blocks of that language in a document.
func fenced(document, language string) []string {
	var blocks []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(document, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// attributeRows are the names in the first column of a section's tables.
func attributeRows(section string) []string {
	var names []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(section, -1) {
		names = append(names, m[1])
	}
	return names
}

// commented are the blocks of configuration in the doc comments of files.
func commented(files []*ast.File) []string {
	var blocks []string
	begin := regexp.MustCompile(`^(source|issuer|sink|hook|token|agent) .*\{$|^(agent|locals|validate) \{$`)
	for _, file := range files {
		for _, group := range file.Comments {
			block := ""
			for line := range strings.Lines(group.Text()) {
				line, indented := strings.CutPrefix(line, "\t")
				switch {
				case indented && (block != "" || begin.MatchString(strings.TrimSpace(line))):
					block += line
				case block != "" && strings.TrimSpace(line) != "":
					blocks = append(blocks, block)
					block = ""
				}
			}
			if block != "" {
				blocks = append(blocks, block)
			}
		}
	}
	return blocks
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func writeFile(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
