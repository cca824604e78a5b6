package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenagent/tokenagent/agent/host"
)

// listedTokens is a configuration whose tokens stand in lists beside it.
const listedTokens = oneSource + `
locals {
  ces  = { for ce in csvdecode(file("lists/ces.csv")) : ce.name => ce }
  more = jsondecode(file("${path.config}/lists/more.json"))
}
token "ce" {
  for_each = local.ces
  source   = source.fake.s
  subject  = each.value.subject
  lifetime = each.value.lifetime
  sink "fake" { path = "/srv/${each.key}" }
}
token "more" {
  for_each = local.more.names
  source   = source.fake.s
  subject  = file("lists/subject")
  claims   = { numbers = local.more.numbers }
  sink "fake" { path = "/srv/more/${each.key}" }
}
`

var lists = map[string]string{
	"lists/ces.csv":   "\ufeffname,subject,lifetime\r\nce1.example.org,one,2h\r\nce2.example.org,\"two, too\",3h\r\n",
	"lists/more.json": `{"names": {"a": true}, "numbers": [1, 2.5]}`,
	"lists/subject":   "robot",
}

func with(files map[string]string, more ...string) map[string]string {
	all := map[string]string{}
	for name, text := range files {
		all[name] = text
	}
	for i := 0; i < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return all
}

func TestTokensMayStandInListsBesideTheConfiguration(t *testing.T) {
	folder := write(t, with(lists, "conf/a.hcl", strings.ReplaceAll(listedTokens, "lists/", "../lists/")))
	config, faults := Load(t.Context(), []string{filepath.Join(folder, "conf/a.hcl")}, fakes("key"), testEnvironment())
	if faults.HasErrors() {
		t.Fatal(faults)
	}
	var got []string
	for _, r := range config.Renewers {
		got = append(got, r.Name+" "+r.Request.Subject+" "+r.Request.Lifetime.String())
	}
	want := []string{`ce["ce1.example.org"] one 2h0m0s`, `ce["ce2.example.org"] two, too 3h0m0s`, `more["a"] robot 1h0m0s`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for name := range lists {
		if path := filepath.Join(folder, name); !slices.Contains(config.Files, path) {
			t.Errorf("%s is not followed: %q", path, config.Files)
		}
	}
}

func TestAFileThatCannotBeReadIsAFaultAndFollowed(t *testing.T) {
	folder := write(t, with(lists, "a.hcl", listedTokens, "lists/more.json", strings.Repeat(" ", mostIncluded+1), "lists/subject", "\xff"))
	if err := os.Remove(filepath.Join(folder, "lists/ces.csv")); err != nil {
		t.Fatal(err)
	}
	config, faults := Load(t.Context(), []string{filepath.Join(folder, "a.hcl")}, fakes("key"), testEnvironment())
	text := strings.ReplaceAll(faults.Error(), folder+"/", "")
	for _, want := range []string{
		`a.hcl:4:38: invalid function argument; invalid value for "path" parameter: lists/ces.csv: no such file or directory`,
		`lists/more.json: it is larger than 1048576 bytes`,
		`lists/subject: it is not UTF-8 text`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("faults\n%s\nwant %s", text, want)
		}
	}
	if !slices.Contains(config.Files, filepath.Join(folder, "lists/ces.csv")) {
		t.Errorf("the missing file is not followed: %q", config.Files)
	}
	env := testEnvironment()
	env.Definitions = true
	if _, faults := Load(t.Context(), []string{filepath.Join(folder, "a.hcl")}, fakes("key"), env); faults.HasErrors() {
		t.Errorf("where the text alone counts: %v", faults)
	}
}

func TestWhatAFileHoldsIsNotInErrors(t *testing.T) {
	const secret = "s3cr3t"
	for name, c := range map[string]struct{ lines, content, want string }{
		"JSON":    {"x = jsondecode(file(\"f\"))", "{\"a\": 1,\n \"" + secret + "\": " + secret + "}", "it is not JSON, by line 2, column 12"},
		"no JSON": {"x = jsondecode(file(\"f\"))", "", "it is not JSON, by line 1, column 0"},
		"CSV":     {"x = csvdecode(file(\"f\"))", "a,b\n" + secret + "\n", "it is not CSV, by line 2, column 1: wrong number of fields"},
		"columns": {"x = csvdecode(file(\"f\"))", secret + "," + secret + "\n1,2\n", "it is not CSV with a first line that names each column once"},
		"empty":   {"x = csvdecode(file(\"f\"))", "", "it is not CSV with a first line"},
		"a cell":  {"}\ntoken \"w\" {\n source = source.fake.s\n profile = csvdecode(file(\"f\"))[0].profile", "subject,profile\r\nx," + secret + "\r\n", `unknown profile "[line 2 of `},
		"a path":  {"x = file(jsondecode(file(\"f\")).x)", "{\n\"x\": \"" + secret + "\"}", "/[line 2 of "},
		"a line":  {"}\ntoken \"w\" {\n source = source.fake.s\n profile = split(\"\\n\", file(\"f\"))[1]", "first\n" + secret + "\nlast\n", `unknown profile "[line 2 of `},
		"a key":   {"}\ntoken \"w\" {\n for_each = toset([for r in csvdecode(file(\"f\")) : r.name])\n source = source.fake.s\n profile = each.key", "name\n" + secret + "\n", `unknown profile "[line 2 of `},
		"letters": {"x = 1\n y = jsondecode(file(\"f\")).nope", "{\"a\": 1, \"object\": 2, \"attribute\": 3}", `this object does not have an attribute named "nope"`},
		"one":     {"x = file(\"f\").a", "a", "attribute"},
		"a value": {"}\ntoken \"w\" {\n source = source.fake.s\n profile = file(\"f\")", secret, `unknown profile "[content of`},
		"lines":   {"}\ntoken \"w\" {\n source = source.fake.s\n profile = replace(file(\"f\"), \"\\n\", \"\")", secret + "\n", `unknown profile "[content of`},
	} {
		folder := write(t, map[string]string{"f": c.content, "a.hcl": oneSource + "locals {\n" + c.lines + "\n}\ntoken \"t\" {\n source = source.fake.s\n}"})
		_, faults := Load(t.Context(), []string{folder}, fakes("key"), testEnvironment())
		if text := faults.Error(); !strings.Contains(text, c.want) || strings.Contains(text, secret) {
			t.Errorf("%s: %s\nwant %s", name, text, c.want)
		}
	}
}

func TestNoTokenIsWrittenOverAFileThatTheConfigurationReads(t *testing.T) {
	folder := write(t, map[string]string{"f": "x"})
	text := oneSource + "locals {\n x = file(\"" + folder + "/f\")\n}\ntoken \"t\" {\n source = source.fake.s\n sink \"fake\" { path = \"" + folder + "/f\" }\n}"
	if got := loadFaults(t, text); !strings.Contains(got, "a token would replace a file that is read; the configuration reads") {
		t.Error(got)
	}
}

// A file that others can change would let them choose what root runs.
func TestAFileThatOthersCanChangeIsRefusedAsTheConfigurationIs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only for root it matters who can change the configuration")
	}
	folder := write(t, map[string]string{"a.hcl": oneSource + "locals {\n x = file(\"f\")\n}\ntoken \"t\" {\n source = source.fake.s\n subject = local.x\n}", "f": "x"})
	if err := os.Chown(filepath.Join(folder, "f"), 54321, 54321); err != nil {
		t.Fatal(err)
	}
	env := testEnvironment()
	env.Trust = &host.Trust{}
	c, faults := Load(t.Context(), []string{filepath.Join(folder, "a.hcl")}, fakes("key"), env)
	if faults.HasErrors() || len(faults) == 0 || len(c.Doubts) != 1 || !strings.Contains(c.Doubts[0], "/f: others than root can change the configuration") {
		t.Errorf("where it is only checked: %v, doubts %q", faults, c.Doubts)
	}
	env.Strict = true
	if c, faults = Load(t.Context(), []string{filepath.Join(folder, "a.hcl")}, fakes("key"), env); !faults.HasErrors() || len(c.Renewers) > 0 {
		t.Errorf("where it is run: %v", faults)
	}
}
