package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	module = "github.com/tokenagent/tokenagent"
	root   = "../.." // of the module, seen from this folder
)

// arrows are all that one of our packages may import of ours. A name that ends
// in "/..." stands for the folders below it; a package that is not here imports
// none of ours.
var arrows = map[string][]string{
	"agent":            {"agent/hooks", "agent/queue"},
	"agent/config":     {"agent", "agent/hooks", "agent/host", "agent/profile", "agent/queue"},
	"agent/profile":    {"agent"},
	"agent/control":    {"agent", "agent/host"},
	"agent/program":    {"agent", "agent/hooks", "agent/host", "agent/config"},
	"agent/history":    {"agent/host"},
	"agent/state":      {"agent", "agent/hooks", "agent/host"},
	"agent/watch":      {"agent/host"},
	"agent/systemd":    {"agent/host"},
	"sources":          {"agent", "agent/host", "agent/config", "agent/profile", "agent/program", "sources/...", "sinks/safefile"},
	"sources/issuer":   {"agent", "agent/host", "agent/profile", "agent/queue", "sources/keys"},
	"sources/refresh":  {"agent", "agent/host", "sinks/safefile"},
	"sources/keys":     {"agent/host"},
	"sources/rotation": {"agent", "agent/host", "sources/issuer", "sources/keys", "sinks/safefile"},
	"sinks":            {"agent", "agent/hooks", "agent/host", "agent/config", "agent/profile", "agent/program", "sinks/..."},
	"sinks/safefile":   {"agent/host"},
	"sinks/condor":     {"agent/host", "sinks/tokendir"},
	"sinks/tokendir":   {"agent/host", "agent/profile", "sinks/pcre"},
	"sinks/mapfile":    {"agent/host", "sinks/pcre"},
	"sinks/bearer":     {"agent/host", "agent/profile"},
	"cmd/tokenagent":   {"agent", "agent/...", "sources", "sources/...", "sinks", "sinks/...", "examples/configs", "packaging/man"},
}

// foreign says which of our packages may import which package of others, with
// the folders below it. What is not here is no dependency of tokenagent.
var foreign = map[string][]string{
	"github.com/agext/levenshtein":     {"agent/profile"},
	"github.com/coreos/go-systemd/v22": {"cmd/tokenagent"},
	"github.com/fsnotify/fsnotify":     {"agent/watch"},
	"github.com/go-jose/go-jose/v4":    {"sources", "sources/issuer", "sources/keys"},
	"github.com/hashicorp/hcl/v2":      {"agent/config"},
	"github.com/robfig/cron/v3":        {"agent", "agent/config"},
	"github.com/sirupsen/logrus":       {"agent", "cmd/tokenagent"},
	"github.com/spf13/cobra":           {"cmd/tokenagent", "packaging/man"},
	"github.com/spf13/pflag":           {"cmd/tokenagent", "packaging/man"},
	"github.com/zclconf/go-cty":        {"agent/config"},
	"golang.org/x/oauth2":              {"sources/issuer"},
	"golang.org/x/sync":                {"sources/issuer"},
	"golang.org/x/text/unicode/norm":   {"agent/host"},
	"golang.org/x/time":                {"sources/issuer"},
	"golang.org/x/sys/unix":            {"agent/control", "agent/history", "agent/host", "agent/program", "agent/state", "agent/systemd", "agent/watch", "sources", "sources/refresh", "sinks/condor", "sinks/safefile", "sinks/tokendir", "cmd/tokenagent"},
}

// withheld are the packages of the standard library, with the folders below
// them, that the heart of the agent keeps away from: the machine.
var withheld = []string{"net", "os", "syscall", "path/filepath", "flag", "log", "plugin", "unsafe"}

// onlyProcess are the functions that only cmd may call: what reads the
// environment, ends the process or touches what is the whole process's.
var onlyProcess = []string{
	"os.Exit", "os.Getenv", "os.LookupEnv", "os.Environ", "os.ExpandEnv", "os.Args", "os.Stdout", "os.Stderr", "os.Stdin",
	"fmt.Print", "fmt.Printf", "fmt.Println", "syscall.Umask", "syscall.Setgroups",
}

func TestImportsFollowTheArrows(t *testing.T) {
	for pkg, names := range imports(t) {
		for _, name := range names {
			if why := refused(pkg, name); why != "" {
				t.Errorf("%s imports %s: %s", pkg, name, why)
			}
		}
	}
}

func TestEveryArrowIsUsed(t *testing.T) {
	used := imports(t)
	for pkg, patterns := range arrows {
		for _, p := range patterns {
			if !slices.ContainsFunc(used[pkg], func(name string) bool {
				ours, is := strings.CutPrefix(name, module+"/")
				return is && within(ours, []string{p})
			}) {
				t.Errorf("%s may import %s, and does not", pkg, p)
			}
		}
	}
	for dependency, users := range foreign {
		for _, pkg := range users {
			if !slices.ContainsFunc(used[pkg], func(name string) bool { return below(name, dependency) }) {
				t.Errorf("%s may import %s, and does not", pkg, dependency)
			}
		}
	}
}

// The picture leaves out what would hide the rest: cmd/tokenagent, which may import
// everything, and agent/host, which everything may import.
func TestThePictureOfTheArchitectureIsTrue(t *testing.T) {
	page, err := os.ReadFile(root + "/docs/architecture.md")
	check(t, err)
	_, picture, found := strings.Cut(string(page), "```mermaid\n")
	picture, _, _ = strings.Cut(picture, "```")
	if !found {
		t.Fatal("docs/architecture.md has no picture")
	}
	label := map[string]string{}
	for _, node := range regexp.MustCompile(`(?m)^\s*(\w+)\["([^"<]+)`).FindAllStringSubmatch(picture, -1) {
		label[node[1]] = node[2]
	}
	var drawn, real []string
	for _, edge := range regexp.MustCompile(`(?m)^\s*(\w+) --> (.+)$`).FindAllStringSubmatch(picture, -1) {
		for to := range strings.SplitSeq(edge[2], " & ") {
			drawn = append(drawn, label[edge[1]]+" --> "+label[strings.TrimSpace(to)])
		}
	}
	for pkg, names := range imports(t) {
		for _, name := range names {
			if to, ours := strings.CutPrefix(name, module+"/"); ours && pkg != "cmd/tokenagent" && to != "agent/host" {
				real = append(real, pkg+" --> "+to)
			}
		}
	}
	slices.Sort(drawn)
	slices.Sort(real)
	if diff := cmp.Diff(slices.Compact(real), drawn); diff != "" {
		t.Errorf("what is imported, and what docs/architecture.md draws (+):\n%s", diff)
	}
	for pkg := range packages(t) {
		if drawn := slices.Collect(maps.Values(label)); !slices.Contains(drawn, pkg) && pkg != "packaging/man" && pkg != "examples/configs" {
			t.Errorf("docs/architecture.md does not draw %s", pkg)
		}
	}
}

// imports are the names of what each package imports.
func imports(t *testing.T) map[string][]string {
	names := map[string][]string{}
	for pkg, files := range packages(t) {
		for _, file := range files {
			for _, spec := range file.Imports {
				name, _ := strconv.Unquote(spec.Path.Value)
				names[pkg] = append(names[pkg], name)
			}
		}
	}
	return names
}

func TestBrokenArrowsAreSeen(t *testing.T) {
	for _, broken := range [][2]string{
		{"agent", "os"},
		{"agent", "net/http"},
		{"agent", module + "/agent/config"},
		{"agent", "github.com/hashicorp/hcl/v2"},
		{"agent/config", module + "/sinks"},
		{"sources", module + "/sinks"},
		{"sinks", module + "/sources/keys"},
		{"sources", module + "/sources/issuer/issuertest"},
		{"sinks/safefile", module + "/agent"},
		{"agent/host", module + "/agent"},
		{"sinks", "github.com/sirupsen/logrus"},
		{"sources", "github.com/fsnotify/fsnotify"},
		{"cmd/tokenagent", "github.com/pkg/errors"},
	} {
		if refused(broken[0], broken[1]) == "" {
			t.Errorf("%s may import %s, and should not", broken[0], broken[1])
		}
	}
}

func TestOnlyTheProcessReadsTheEnvironmentAndExits(t *testing.T) {
	for pkg, files := range packages(t) {
		if pkg == "cmd/tokenagent" {
			continue
		}
		for _, file := range files {
			for name := range selectors(file) {
				if slices.Contains(onlyProcess, name) && !(pkg == "agent/host" && name == "os.Getenv") { // see host.ReadOnlyForAll
					t.Errorf("%s uses %s, which is for cmd/tokenagent alone", pkg, name)
				}
			}
		}
	}
}

// The child of exec is started by syscall.StartProcess: it keeps the terminal.
func TestEveryProgramIsStartedByLaunch(t *testing.T) {
	starts := []string{"exec.Command", "exec.CommandContext", "os.StartProcess"}
	for pkg, files := range packages(t) {
		if pkg == "agent/host" || forTests(pkg) { // where Launch is
			continue
		}
		for _, file := range files {
			used := selectors(file)
			for _, start := range starts {
				if used[start] && !(used["host.Launch"] && used["host.Alone"]) {
					t.Errorf("%s uses %s without host.Launch and host.Alone: the program inherits a terminal or descriptors", pkg, start)
				}
			}
		}
	}
}

// A command to type is built by place.command, which knows the configuration and the
// socket. The help of the commands, which has neither, is left out here.
func TestEveryCommandThatIsNamedHasItsConfiguration(t *testing.T) {
	bare := regexp.MustCompile(`tokenagent (run|once|status|refresh|reload|check|login)\b( --(config|control))?`)
	for pkg, files := range packages(t) {
		for _, file := range files {
			ast.Inspect(file, func(n ast.Node) bool {
				if field, ok := n.(*ast.KeyValueExpr); ok {
					name, _ := field.Key.(*ast.Ident)
					return name == nil || !slices.Contains([]string{"Use", "Short", "Long", "Example"}, name.Name)
				}
				if text, ok := n.(*ast.BasicLit); ok && text.Kind == token.STRING {
					for _, found := range bare.FindAllStringSubmatch(text.Value, -1) {
						if found[2] == "" {
							t.Errorf("%s tells people to type %q without --config", pkg, found[0])
						}
					}
				}
				return true
			})
		}
	}
}

// refused says why pkg may not import name; "" when it may.
func refused(pkg, name string) string {
	if ours, is := strings.CutPrefix(name, module+"/"); is {
		if within(ours, arrows[pkg]) && !forTests(ours) {
			return ""
		}
		return "no arrow leads there"
	}
	if first, _, _ := strings.Cut(name, "/"); !strings.Contains(first, ".") {
		if pkg == "agent" && slices.ContainsFunc(withheld, func(w string) bool { return below(name, w) }) {
			return "the agent touches no file and no socket"
		}
		return ""
	}
	for dependency, users := range foreign {
		if below(name, dependency) && slices.Contains(users, pkg) {
			return ""
		}
	}
	return "it is not one of the dependencies of this package"
}

// within reports whether name is allowed by one of the patterns of arrows.
func within(name string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		folder, all := strings.CutSuffix(p, "/...")
		return name == p || all && strings.HasPrefix(name, folder+"/")
	})
}

// forTests reports whether only tests may import the package, such as issuertest,
// which therefore may what tests may.
func forTests(pkg string) bool { return strings.HasSuffix(pkg, "test") }

// below reports whether name is folder or lies in it.
func below(name, folder string) bool {
	return name == folder || strings.HasPrefix(name, folder+"/")
}

// packages are the parsed files of each of our packages, without its tests and
// those for tests.
func packages(t *testing.T) map[string][]*ast.File {
	t.Helper()
	found := map[string][]*ast.File{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || forTests(d.Name())) {
			return fs.SkipDir
		}
		if path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
		pkg, _ := filepath.Rel(root, filepath.Dir(name))
		found[pkg] = append(found[pkg], file)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, pkg := range []string{"agent", "agent/config", "agent/profile", "sources", "sinks", "cmd/tokenagent"} {
		if len(found[pkg]) == 0 {
			t.Errorf("%s is not there: the arrows speak of a tree that is no more", pkg)
		}
	}
	return found
}

// selectors are the names of packages' members that a file uses: "os.Exit".
func selectors(file *ast.File) map[string]bool {
	used := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if pkg, ok := s.X.(*ast.Ident); ok {
				used[pkg.Name+"."+s.Sel.Name] = true
			}
		}
		return true
	})
	return used
}
