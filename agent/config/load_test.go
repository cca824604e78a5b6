package config

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenagent/tokenagent/agent"
)

const oneSource = `source "fake" "s" { issuer = "https://x" }
`

const oneToken = oneSource + `token "t" {
  source = source.fake.s
  sink "fake" { path = "/srv/t" }
}
`

func namesOf(renewers []agent.Renewer) (list []string) {
	for _, r := range renewers {
		list = append(list, r.Name)
	}
	return list
}

func TestFolderIsMergedInTheOrderOfItsNames(t *testing.T) {
	folder := write(t, map[string]string{
		"20.hcl":         `token "second" { source = source.fake.late }`,
		"10.hcl":         `token "first" { source = source.fake.late }`,
		"30.hcl":         `source "fake" "late" { issuer = local.issuer }`,
		"40.hcl":         `locals { issuer = "https://x" }`,
		".hidden.hcl":    `not read {`,
		"notes.txt":      `not read {`,
		"sub/other.hcl":  `not read {`,
		"conf.d/one.hcl": `token "third" { source = source.fake.late }`,
	})
	config, faults := Load(t.Context(), []string{folder, folder + "/conf.d/*.hcl", folder + "/10.hcl", folder + "/absent/*.hcl"}, fakes(""), testEnvironment())
	if faults.HasErrors() {
		t.Fatal(faults)
	}
	if diff := cmp.Diff([]string{"first", "second", "third"}, namesOf(config.Renewers)); diff != "" {
		t.Error(diff)
	}
	want := []string{folder}
	for _, name := range []string{"conf.d", "10.hcl", "20.hcl", "30.hcl", "40.hcl", "conf.d/one.hcl", "absent"} {
		want = append(want, filepath.Join(folder, name))
	}
	if diff := cmp.Diff(want, config.Files); diff != "" {
		t.Errorf("files to watch (-want +got):\n%s", diff)
	}
}

// So are /etc/tokenagent/tokenagent.hcl and /etc/tokenagent/conf.d/*.hcl, and --config
// with the folder of both.
func TestConfDAloneIsAConfiguration(t *testing.T) {
	const name = "tokenagent.hcl"
	one, two := strings.ReplaceAll(oneToken, `"t"`, `"one"`), `token "two" { source = source.fake.s }`
	for _, test := range []struct {
		what  string
		files map[string]string
		want  []string // tokens, or a fault
	}{
		{"only conf.d", map[string]string{"conf.d/a.hcl": one}, []string{"one"}},
		{"only the file", map[string]string{name: one}, []string{"one"}},
		{"both", map[string]string{name: two, "conf.d/a.hcl": one}, []string{"two", "one"}},
		{"neither", map[string]string{"conf.d/.hidden.hcl": one}, nil},
	} {
		t.Run(test.what, func(t *testing.T) {
			folder := write(t, test.files)
			for _, paths := range [][]string{{filepath.Join(folder, name), folder + "/conf.d/*.hcl"}, {folder}} {
				config, faults := Load(t.Context(), paths, fakes(""), testEnvironment())
				if faults.HasErrors() != (test.want == nil) {
					t.Errorf("%q: %v", paths, faults)
				}
				if diff := cmp.Diff(test.want, namesOf(config.Renewers)); diff != "" {
					t.Errorf("%q: tokens (-want +got):\n%s", paths, diff)
				}
				if !slices.ContainsFunc(config.Files, func(f string) bool { return f == folder || f == filepath.Join(folder, name) }) {
					t.Errorf("%q: a new %s would not be noticed; watched are %q", paths, name, config.Files)
				}
				if dropIns := filepath.Join(folder, "conf.d"); !slices.Contains(config.Files, dropIns) {
					t.Errorf("%q: a new %s would not be noticed; watched are %q", paths, dropIns, config.Files)
				}
			}
		})
	}
}

func TestAFileThatIsNamedAloneMustExist(t *testing.T) {
	folder := write(t, map[string]string{"conf.d/a.hcl": oneToken})
	_, faults := Load(t.Context(), []string{filepath.Join(folder, "tokenagent.hcl"), filepath.Join(folder, "conf.d/a.hcl")}, fakes(""), testEnvironment())
	if len(faults) != 1 || !strings.Contains(faults[0].Summary, "no such file") {
		t.Errorf("faults %v", faults)
	}
}

func TestALinkToNoFileIsAFaultBesideConfD(t *testing.T) {
	folder := write(t, map[string]string{"conf.d/a.hcl": oneToken})
	main := filepath.Join(folder, "tokenagent.hcl")
	if err := os.Symlink(filepath.Join(folder, "unmounted", "tokenagent.hcl"), main); err != nil {
		t.Fatal(err)
	}
	_, faults := Load(t.Context(), []string{main, folder + "/conf.d/*.hcl"}, fakes(""), testEnvironment())
	if !faults.HasErrors() {
		t.Errorf("%v is loaded without the file behind %s", folder, main)
	}
}

// The tokens of its files would be removed while it cannot be reached.
func TestConfDThatCannotBeReadIsAFault(t *testing.T) {
	for what, make := range map[string]func(path string) error{
		"a link to nothing": func(path string) error { return os.Symlink("gone", path) },
		"a link to a file":  func(path string) error { return os.Symlink("tokenagent.hcl", path) },
		"a file":            func(path string) error { return os.WriteFile(path, nil, 0o644) },
	} {
		folder := write(t, map[string]string{"tokenagent.hcl": oneToken})
		if err := make(folder + "/conf.d"); err != nil {
			t.Fatal(err)
		}
		for _, paths := range [][]string{{folder}, {folder + "/tokenagent.hcl", folder + "/conf.d/*.hcl"}} {
			_, faults := Load(t.Context(), paths, fakes(""), testEnvironment())
			if text := faults.Error(); !strings.HasPrefix(text, folder+"/conf.d") {
				t.Errorf("%s, %v: %q", what, paths, text)
			}
		}
	}
}

func TestInstancesAreNamedByTheirKeysInOrder(t *testing.T) {
	config := load(t, oneSource+`token "pilot" {
  for_each = { "ce2" = "two", "ce1" = "one" }
  source   = source.fake.s
  audience = [each.value]
  required = each.key == "ce2"
  sink "fake" { path = "/srv/${each.key}" }
}`)
	if diff := cmp.Diff([]string{`pilot["ce1"]`, `pilot["ce2"]`}, namesOf(config.Renewers)); diff != "" {
		t.Fatal(diff)
	}
	r := config.Renewers[1]
	if diff := cmp.Diff([]string{"two"}, r.Request.Audience); diff != "" {
		t.Error(diff)
	}
	sink := r.Sinks[0].Sink.(*fakeSink)
	if sink.File != "/srv/ce2" || sink.token != r.Name || sink.req.Audience[0] != "two" {
		t.Errorf("the sink is %+v", sink)
	}
	if !r.Required || config.Renewers[0].Required {
		t.Error("required is not that of each instance")
	}
	if want := agent.Jitter("seed", r.Name); r.Schedule.Jitter != want {
		t.Errorf("jitter %v, want %v", r.Schedule.Jitter, want)
	}
}

func TestValuesKeepTheirTypes(t *testing.T) {
	config := load(t, oneSource+`token "t" {
  source   = source.fake.s
  profile  = "wlcg"
  subject  = "robot"
  audience = toset(["b", "a"])
  lifetime = "2d1h"
  required = false
  claims   = { whole = 1.0, part = 0.5, yes = true, list = ["a", 1], "wlcg.groups" = toset(["/x"]), inner = { n = -3 } }
  renew {
    at            = 0.25
    min_remaining = "1h30m"
    cron          = "0 4 * * *"
  }
  sink "fake" {
    path       = "/srv//a/../t"
    mode       = "0640"
    create_dir = true
  }
}`)
	r := config.Renewers[0]
	want := agent.Request{
		Profile: "wlcg", Subject: "robot", Audience: []string{"a", "b"}, Lifetime: 49 * time.Hour,
		Claims: map[string]any{
			"whole": int64(1), "part": 0.5, "yes": true, "list": []any{"a", int64(1)},
			"wlcg.groups": []any{"/x"}, "inner": map[string]any{"n": int64(-3)},
		},
	}
	if diff := cmp.Diff(want, r.Request); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
	s := r.Schedule
	if r.Required || s.At != 0.25 || s.MinRemaining != 90*time.Minute || s.Cron == nil {
		t.Errorf("required %v, schedule %+v", r.Required, s)
	}
	if sink := r.Sinks[0].Sink.(*fakeSink); sink.File != "/srv/t" || sink.Mode != 0o640 || !sink.Create {
		t.Errorf("the sink is %+v", sink)
	}
}

func TestDefaults(t *testing.T) {
	config := load(t, oneToken)
	if diff := cmp.Diff(Settings{LogLevel: "info", LogFormat: "text"}, config.Settings); diff != "" {
		t.Error(diff)
	}
	r := config.Renewers[0]
	if r.Request.Lifetime != time.Hour || !r.Required || r.Accept == nil {
		t.Errorf("lifetime %s, required %v", r.Request.Lifetime, r.Required)
	}
	if sink := r.Sinks[0].Sink.(*fakeSink); sink.Mode != 0o600 || sink.req.Lifetime != time.Hour {
		t.Errorf("the sink is %+v", sink)
	}
}

func TestSettings(t *testing.T) {
	folder := write(t, map[string]string{"a.hcl": `agent {
  state_dir     = "${path.config}/state"
  control       = "/run/x.sock"
  control_group = "operators"
  log_level     = "warn"
  log_format    = "json"
  require_all   = true
  name          = "site"
}` + "\n" + replaceIn(t, oneToken, "source.fake.s", "source.fake.s\n  required = false")})
	config, faults := Load(t.Context(), []string{folder}, fakes(""), testEnvironment())
	if faults.HasErrors() {
		t.Fatal(faults)
	}
	if !config.Renewers[0].Required {
		t.Error("require_all is on, but the token is not required")
	}
	want := Settings{"site", folder + "/state", "/run/x.sock", "operators", "warn", "json", true}
	if diff := cmp.Diff(want, config.Settings); diff != "" {
		t.Error(diff)
	}
}

func TestFilesThatAreNoConfiguration(t *testing.T) {
	folder := write(t, map[string]string{
		"empty.hcl":      "",
		"binary.hcl":     "\x7fELF\x00\x01",
		"latin1.hcl":     oneToken + "# x\nlocals { a = \"gr\xfc\xdf\" }\n",
		"deep.hcl":       "locals { a = " + strings.Repeat("(", 1<<14),
		"unary.hcl":      "locals { a = " + strings.Repeat("!", 1<<14),
		"sum.hcl":        "locals { a = 1" + strings.Repeat("+1", 1<<14) + "}",
		"index.hcl":      "locals { a = b" + strings.Repeat("[c]", 1<<14) + "}",
		"truncated.hcl":  `token "t" {`,
		"comment.hcl":    "# only a comment\n",
		"empty.d/README": "",
	})
	huge := filepath.Join(folder, "huge.hcl")
	if err := os.WriteFile(huge, []byte("# "), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, mostText+1); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(folder, "fifo.hcl"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"absent.hcl":    "absent.hcl: no such file or directory; the configuration is read from files and from folders with files named *.hcl",
		"empty.hcl":     "empty.hcl: the file is empty; delete it, or write at least a comment into it",
		"huge.hcl":      "huge.hcl: the file is too large; at most 16 MiB are read",
		"binary.hcl":    "binary.hcl: the file is binary; it has a NUL byte; a configuration is UTF-8 text (not UTF-16)",
		"latin1.hcl":    "latin1.hcl:7:17: the file is not UTF-8; this byte is not UTF-8; save the file as UTF-8",
		"deep.hcl":      "deep.hcl: the file is nested too deeply; at most 1000 brackets and operators may stand within each other",
		"unary.hcl":     "unary.hcl: the file is nested too deeply; at most 1000 brackets and operators may stand within each other",
		"sum.hcl":       "sum.hcl: the file is nested too deeply; at most 1000 brackets and operators may stand within each other",
		"index.hcl":     "index.hcl: the file is nested too deeply; at most 1000 brackets and operators may stand within each other",
		"fifo.hcl":      "fifo.hcl: it is a FIFO, not a regular file; the configuration is read from files and from folders with files named *.hcl",
		"empty.d":       "empty.d: the folder holds no configuration; files with names that end in .hcl are read, in the folder and in conf.d in it",
		"truncated.hcl": "truncated.hcl:1:11: unclosed configuration block; there is no closing brace for this block before the end of the file. This may be caused by incorrect brace nesting elsewhere in this file",
		"comment.hcl":   `comment.hcl: no token block; write at least one: token "NAME" { source = …, sink "file" { … } }`,
		"no/*.hcl":      `no/*.hcl: no token block; write at least one: token "NAME" { source = …, sink "file" { … } }`,
	} {
		t.Run(name, func(t *testing.T) {
			_, faults := Load(t.Context(), []string{folder + "/" + name}, fakes(""), testEnvironment())
			got := strings.ReplaceAll(faults.Error(), folder+"/", "")
			if got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestFaultsOfAllFilesComeInTheirOrder(t *testing.T) {
	folder := write(t, map[string]string{
		"a.hcl": "token \"a\" {\n  source = source.fake.absent\n  subject = 5\n}\n",
		"b.hcl": "token \"b\" {\n  source = \n}\n",
		"c.hcl": "token \"c\" {\n  profile = \"x\"\n  source = local.nothing\n}\n",
	})
	var first string
	for range 20 {
		_, faults := Load(t.Context(), []string{folder}, fakes(""), testEnvironment())
		var got []string
		for _, f := range faults.Errors() {
			got = append(got, filepath.Base(f.File)+" "+f.Summary)
		}
		want := []string{
			"a.hcl unknown source.fake.absent",
			"a.hcl wrong type for subject",
			"b.hcl invalid expression",
			`c.hcl unknown profile "x"`,
			"c.hcl unknown local.nothing",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		if first == "" {
			first = faults.Error()
		}
		if faults.Error() != first {
			t.Fatalf("another run gave\n%s\nnot\n%s", faults.Error(), first)
		}
	}
}

func TestAfterErrorsThereAreFilesToWatchAndSettingsToFindTheAgent(t *testing.T) {
	folder := write(t, map[string]string{"b.hcl": `agent { control = "/run/x.sock" }
source "fake" "s" {
  issuer   = "https://x"
  key_file = "/etc/keys/absent.pem"
}
token "t" { source = 5 }
`})
	config, faults := Load(t.Context(), []string{folder + "/b.hcl"}, fakes(""), testEnvironment())
	if !faults.HasErrors() || config.Renewers != nil {
		t.Fatalf("faults %v, renewers %v", faults, config.Renewers)
	}
	if want := []string{folder + "/b.hcl", "/etc/keys/absent.pem"}; !slices.Equal(config.Files, want) {
		t.Errorf("files %v, want %v", config.Files, want)
	}
	if config.Settings.Control != "/run/x.sock" {
		t.Errorf("settings %+v", config.Settings)
	}
}

func TestOnePathSpeltInManyWays(t *testing.T) {
	folder := write(t, map[string]string{"real/keep": ""})
	if err := os.Symlink("real", filepath.Join(folder, "link")); err != nil {
		t.Fatal(err)
	}
	for _, other := range []string{"link/t", "real/../link/./t", "absent/../real//t"} {
		t.Run(other, func(t *testing.T) {
			text := strings.ReplaceAll(oneSource+`token "a" {
  source = source.fake.s
  sink "fake" { path = "FOLDER/real/t" }
}
token "b" {
  source = source.fake.s
  sink "fake" { path = "FOLDER/OTHER" }
}`, "FOLDER", folder)
			got := loadFaults(t, strings.ReplaceAll(text, "OTHER", other))
			want := "a.hcl:8:24: duplicate path; token a writes " + filepath.Join(folder, other) + " too, at a.hcl:4:24"
			if got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestFoldersThatDoNotExistYetAreComparedToo(t *testing.T) {
	folder := write(t, map[string]string{"real/keep": ""})
	if err := os.Symlink("real", filepath.Join(folder, "link")); err != nil {
		t.Fatal(err)
	}
	got := loadFaults(t, strings.ReplaceAll(oneSource+`token "a" {
  source = source.fake.s
  sink "fake" { path = "FOLDER/real/new/t" }
  sink "fake" { path = "FOLDER/link/new/t" }
  sink "fake" { path = "FOLDER/link/other/t" }
}`, "FOLDER", folder))
	if strings.Count(got, "\n") != 0 || !strings.HasPrefix(got, "a.hcl:5:24: duplicate path") {
		t.Error(got)
	}
}

func TestDefinitionsOnlyLooksAtNothing(t *testing.T) {
	folder := write(t, map[string]string{"real/keep": "", "a.hcl": oneSource + `
source "fake" "unset" { issuer = "https://${env("NOT_SET_HERE")}/${fqdn()}" }
token "a" {
  source = source.fake.s
  sink "fake" { path = "${path.config}/real/t" }
  sink "fake" { path = "${path.config}/link/t" }
  sink "fake" { path = "${path.credentials}/t" }
}
token "b" {
  source  = source.fake.unset
  subject = env("NOT_SET_HERE")
}
`})
	if err := os.Symlink("real", filepath.Join(folder, "link")); err != nil {
		t.Fatal(err)
	}
	env := testEnvironment()
	env.Definitions = true
	_, faults := Load(t.Context(), []string{folder + "/a.hcl"}, fakes(""), env)
	if faults.HasErrors() {
		t.Error(faults)
	}
}

func TestFaultsAsJSON(t *testing.T) {
	folder := write(t, map[string]string{"a.hcl": oneSource + "token \"t\" {\n  source = source.fake.s\n  subject = 5\n}\n"})
	_, faults := Load(t.Context(), []string{folder + "/a.hcl"}, fakes(""), testEnvironment())
	got, err := json.Marshal(faults)
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"file":"a.hcl","line":2,"column":1,"severity":"warning","summary":"no sink block","detail":"run keeps no token for it; it can only be used by exec and token create"},` +
		`{"file":"a.hcl","line":4,"column":13,"severity":"error","summary":"wrong type for subject","detail":"subject is a string, and this is a number; write it in quotes"}]`
	if diff := cmp.Diff(want, strings.ReplaceAll(string(got), folder+"/", "")); diff != "" {
		t.Error(diff)
	}
	if len(faults.Warnings()) != 1 || len(faults.Errors()) != 1 || !faults.HasErrors() || faults.Warnings().HasErrors() {
		t.Error("warnings and errors are not told apart")
	}
}

func TestNoSecretIsShown(t *testing.T) {
	folder := write(t, map[string]string{"a.hcl": `source "fake" "s" { client_secret = "hunter2hunter2" }
source "fake" "u" {
  issuer = eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJyb2JvdCJ9.c2lnbmF0dXJl
  password = "hunter2hunter2"
  private_key = "hunter2hunter2"
}
token "t" { source = "source.fake.s" }
`})
	_, faults := Load(t.Context(), []string{folder + "/a.hcl"}, fakes(""), testEnvironment())
	var text bytes.Buffer
	if err := faults.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"hunter2", "c2lnbmF0dXJl", "eyJzdWIi"} {
		if strings.Contains(text.String()+faults.Error(), secret) {
			t.Errorf("%s is shown:\n%s", secret, text.String())
		}
	}
}

func TestFaultsOfAFileAsAWholeHaveNoExcerpt(t *testing.T) {
	folder := write(t, map[string]string{"a.hcl": ""})
	_, faults := Load(t.Context(), []string{folder + "/a.hcl"}, fakes(""), testEnvironment())
	var text bytes.Buffer
	if err := faults.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	want := folder + "/a.hcl: error: the file is empty\n  delete it, or write at least a comment into it\n"
	if text.String() != want {
		t.Errorf("got %q, want %q", text.String(), want)
	}
}

func TestAttributesOfABlockCanBeAskedFor(t *testing.T) {
	kinds := fakes("")
	var seen []bool
	kinds.Sources["fake"] = func(b *Block) Source {
		seen = []bool{b.Has("issuer"), b.Has("size"), b.Has("share"), b.DefinitionsOnly(), b.Name() == "s"}
		b.Warn("", "w", "at the header")
		b.Fault("share", "f", "not set, so at the header too")
		return Source{}
	}
	folder := write(t, map[string]string{"a.hcl": "source \"fake\" \"s\" {\n  issuer = \"x\"\n  size = null\n}\ntoken \"t\" { source = source.fake.s }\n"})
	_, faults := Load(t.Context(), []string{folder + "/a.hcl"}, kinds, testEnvironment())
	if want := []bool{true, false, false, false, true}; !slices.Equal(seen, want) {
		t.Errorf("got %v, want %v", seen, want)
	}
	if len(faults) < 2 || faults[0].Line != 1 || faults[1].Line != 1 {
		t.Error(faults)
	}
}

// Go takes UTC for a TZ that it does not know, and says nothing of it.
func TestACronInALocalTimeThatIsNotKnownIsWarnedOf(t *testing.T) {
	for _, c := range []struct {
		tz, cron string
		warned   bool
	}{
		{"", "0 4 * * *", false}, {":Europe/Zurich", "0 4 * * *", false}, {"CET-1CEST,M3.5.0,M10.5.0/3", "0 4 * * *", true},
		{"Europe/Zuerich", "0 4 * * *", true}, {"/no/such/file", "0 4 * * *", true}, {"Europe/Zuerich", "CRON_TZ=Europe/Zurich 0 4 * * *", false},
	} {
		env := testEnvironment()
		env.Machine.Getenv = func(name string) string { return map[string]string{"TZ": c.tz}[name] }
		folder := write(t, map[string]string{"tokenagent.hcl": oneSource + `token "t" {
  source = source.fake.s
  renew {
    cron = "` + c.cron + `"
  }
  sink "fake" {
    path = "/srv/t"
  }
}`})
		_, faults := Load(t.Context(), []string{folder + "/tokenagent.hcl"}, fakes(""), env)
		if warned := len(faults.Warnings()) > 0; warned != c.warned || faults.HasErrors() {
			t.Errorf("TZ %q, cron %q: %v", c.tz, c.cron, faults)
		}
	}
}
