package sinks

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/host"
)

// condor is a machine whose HTCondor has this knob set to the value.
func condor(knob, value string) config.Environment {
	ask := func(name string) (string, error) {
		if name == knob {
			return value, nil
		}
		return "", errors.New("not defined")
	}
	return config.Environment{Checking: true, Machine: config.Machine{Knob: ask}}
}

// idtoken are the attributes of a token that HTCondor would take.
const idtoken = `  profile = "htcondor"
  subject = "schedd@example.org"
  scope   = ["condor:/READ"]
`

func TestFilesThatHTCondorWouldNotUse(t *testing.T) {
	dir := t.TempDir()
	here := pathLine(filepath.Join(dir, "10-collector"))
	for name, test := range map[string]struct{ lines, want string }{
		"as it should be": {here, ""},
		"read-only":       {here + `mode = "0400"`, ""},
		"a name it skips": {pathLine(dir + "/token.rpmsave"), `passes over files of the name "token.rpmsave"`},
		"a hidden name":   {pathLine(dir + "/.token"), `passes over files of the name ".token"`},
		"a daemon's name": {pathLine(dir + "/SCHEDD_auto_generated_token"), "for the token that its SCHEDD makes for itself"},
		"a group's":       {here + `mode = "0640"`, `group and others have no permissions; "0600" is usual`},
		"everybody's":     {here + `mode = "0604"`, `group and others have no permissions; "0600" is usual`},
		"JSON":            {here + `format = "json"`, `wants the bare token in the files of ` + dir},
		"a variable":      {here + `format = "env"`, `that is the format "token"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, faults := loadToken(t, condor("SEC_TOKEN_DIRECTORY", dir), idtoken, test.lines)
			got := text(t, faults)
			if test.want == "" && got != "" || !strings.Contains(got, test.want) {
				t.Errorf("got %s\nwant %q", got, test.want)
			}
			if strings.Contains(got, "wide open") {
				t.Errorf("the mode is told twice:\n%s", got)
			}
		})
	}
}

func TestATokenThatAnotherHidesFromHTCondorIsTold(t *testing.T) {
	dir := t.TempDir()
	one := func(name string) string {
		return fmt.Sprintf("token %q {\n  source = source.pool.s\n%s  sink \"file\" {\n%s  }\n}\n", name, idtoken, pathLine(filepath.Join(dir, name)))
	}
	path := filepath.Join(t.TempDir(), "tokenagent.hcl")
	must(t, os.WriteFile(path, []byte("source \"pool\" \"s\" {\n}\n"+one("10")+one("20")), 0o600))
	kinds := config.Kinds{Sinks: Kinds, Sources: map[string]config.SourceDecoder{"pool": func(*config.Block) config.Source {
		return config.Source{Source: silent{}, Key: config.SigningKey{Issuer: "cm.example.org", ID: "POOL"}}
	}}}
	_, faults := config.Load(t.Context(), []string{path}, kinds, condor("SEC_TOKEN_DIRECTORY", dir))
	if got := text(t, faults); !strings.Contains(got, "HTCondor would never use this token") {
		t.Errorf("got %s", got)
	}
}

func TestAllThatKeepsHTCondorFromAFileIsTold(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none") // which visit warns of
	_, faults := loadToken(t, condor("SEC_TOKEN_DIRECTORY", dir), idtoken, pathLine(dir+"/a~")+"mode = \"0644\"\nformat = \"json\"")
	if len(faults.Errors()) != 3 || len(faults.Warnings()) != 1 {
		t.Errorf("got %s", text(t, faults))
	}
}

func TestHTCondorReadsRootsFilesInItsSystemDirectory(t *testing.T) {
	dir := t.TempDir()
	lines, place := pathLine(dir+"/10-collector"), "path ="
	if os.Geteuid() == 0 {
		fine(t, lines)
		lines, place = lines+"owner = \"54321\"\ngroup = \"54321\"", "owner ="
	}
	_, faults := loadToken(t, condor("SEC_TOKEN_SYSTEM_DIRECTORY", dir), idtoken, lines)
	got := text(t, faults)
	if len(faults) != 1 || !strings.Contains(got, "only when they belong to root; this one would belong to uid") || !strings.Contains(got, place) {
		t.Errorf("got %s", got)
	}
}

func TestHTCondorCEIsAskedToo(t *testing.T) {
	dir := t.TempDir()
	env := config.Environment{Checking: true, Machine: config.Machine{CEKnob: condor("SEC_TOKEN_DIRECTORY", dir).Machine.Knob}}
	_, faults := loadToken(t, env, idtoken, pathLine(dir+"/10-collector")+`mode = "0640"`)
	if got := text(t, faults); !strings.Contains(got, "group and others have no permissions") {
		t.Errorf("a file in a directory of HTCondor-CE: %s", got)
	}
}

// A question takes longer than a token, so run, once and the like do without.
func TestOnlyCheckAsksHTCondorForItsDirectories(t *testing.T) {
	dir := t.TempDir()
	env := condor("SEC_TOKEN_DIRECTORY", dir)
	env.Checking, env.Machine.CEKnob = false, env.Machine.Knob
	knob, asked := env.Machine.Knob, 0
	env.Machine.Knob = func(name string) (string, error) { asked++; return knob(name) }
	env.Machine.CEKnob = env.Machine.Knob
	if _, faults := loadToken(t, env, idtoken, pathLine(dir+"/10-collector")+`mode = "0640"`); len(faults) > 0 || asked > 0 {
		t.Errorf("asked %d times: %s", asked, text(t, faults))
	}
	_, faults := loadToken(t, env, idtoken, pathLine("/etc/condor/tokens.d/10-collector")+`mode = "0640"`)
	if got := text(t, faults); !strings.Contains(got, "HTCondor would not use the file") || asked > 0 {
		t.Errorf("the default directory is not known: asked %d times: %s", asked, got)
	}
}

func TestADirectoryThatItsReaderCannotReadIsTold(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give folders away")
	}
	dir := t.TempDir()
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
	for mode, want := range map[os.FileMode]bool{0o111: true, 0o600: true, 0o700: false} {
		must(t, os.Chown(dir, 54321, 54321))
		must(t, os.Chmod(dir, mode))
		_, faults := loadToken(t, condor("SEC_TOKEN_DIRECTORY", dir), idtoken, pathLine(dir+"/10-collector")+"owner = \"54321\"\ngroup = \"54321\"")
		if got := text(t, faults); strings.Contains(got, "may not look into "+dir) != want {
			t.Errorf("mode %04o: %s", mode, got)
		}
	}
}

// What the tools of a user find there, the daemons do not use.
func TestRootsDaemonsPassOverTheFilesOfOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files to another user")
	}
	dir := t.TempDir()
	must(t, os.Chown(dir, 54321, 54321))
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
	lines := pathLine(dir+"/10-collector") + "owner = \"54321\"\ngroup = \"54321\""
	_, faults := loadToken(t, condor("SEC_TOKEN_DIRECTORY", dir), idtoken, lines)
	got := text(t, faults)
	if len(faults) != 1 || !strings.Contains(got, "warning: root's daemons skip it") || !strings.Contains(got, "owner =") {
		t.Errorf("got %s", got)
	}
	for _, env := range []config.Environment{condor("SEC_TOKEN_DIRECTORY", "/elsewhere"), {Definitions: true}} {
		if _, faults := loadToken(t, env, idtoken, lines); len(faults) > 0 {
			t.Errorf("got %s", text(t, faults))
		}
	}
}

func TestATokenThatIsNoIDTOKENIsOutOfPlace(t *testing.T) {
	dir := t.TempDir()
	for _, attributes := range []string{"", "  profile = \"scitokens\"\n  subject = \"pilot\"\n  audience = [\"ce.example.org:9619\"]\n  scope = [\"condor:/READ\"]\n"} {
		_, faults := loadToken(t, condor("SEC_TOKEN_DIRECTORY", dir), attributes, pathLine(dir+"/10-pilot"))
		got := text(t, faults)
		if len(faults) != 1 || !strings.Contains(got, "warning: HTCondor looks for IDTOKENs there") || !strings.Contains(got, "SCITOKENS_FILE") || !strings.Contains(got, "path =") {
			t.Errorf("got %s", got)
		}
		if _, faults := loadToken(t, config.Environment{}, attributes, pathLine(dir+"/10-pilot")); len(faults) > 0 {
			t.Errorf("elsewhere: %s", text(t, faults))
		}
	}
}

func TestOtherDirectoriesAreNotValidatedForHTCondor(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tokens.d")
	must(t, os.Mkdir(dir, 0o700))
	below := filepath.Join(dir, "below")
	must(t, os.Mkdir(below, 0o700))
	for _, folder := range []string{below, filepath.Dir(dir), filepath.Join(t.TempDir())} {
		s, faults := load(t, condor("SEC_TOKEN_DIRECTORY", dir), pathLine(folder+"/a~")+"mode = \"0640\"\nformat = \"json\"")
		if len(faults) > 0 {
			t.Fatalf("in %s: %s", folder, text(t, faults))
		}
		if s.directory != nil {
			t.Errorf("HTCondor reads %s", folder)
		}
	}
}

func TestATokenDirectoryIsThatOfTheHomesUser(t *testing.T) {
	base := t.TempDir()
	home, other := filepath.Join(base, "home"), filepath.Join(base, "other")
	must(t, errors.Join(os.Mkdir(home, 0o700), os.Mkdir(other, 0o700)))
	uid := os.Geteuid() // of both folders
	script := filepath.Join(base, "getent")
	must(t, os.WriteFile(script, fmt.Appendf(nil, "#!/bin/sh\n[ \"$3\" = 54321 ] && echo frontend:x:54321:54321::%s:/bin/sh\n", home), 0o755))
	if uid == 0 {
		must(t, errors.Join(os.Chown(home, 54321, 54321), os.Chown(other, 54321, 54321)))
	}
	known := &host.Database{Getent: script}
	misplaced := "frontend" // whoever is to own the file: the home is frontend's
	if uid != 0 {
		misplaced = "" // the home is of somebody who has another
	}
	for _, c := range []struct {
		folder string
		owner  int
		want   string
	}{
		{home + homeTokens, 54321, "frontend"},
		{home + homeTokens, 0, misplaced},
		{other + homeTokens, 54321, ""},
		{home + "/tokens.d", 54321, ""},
		{"/etc/condor/tokens.d", 54321, "root"},
	} {
		got := ""
		if d := condorDirectory(known, c.folder, c.owner, unset); d != nil {
			got = d.Reader.Name
		}
		if got != c.want {
			t.Errorf("a file of %d in %s is for %q, want %q", c.owner, c.folder, got, c.want)
		}
	}
}

func TestTokenDirectoriesAreKnownByTheirPathsAlone(t *testing.T) {
	for path, want := range map[string]string{
		"/etc/condor/tokens.d/a~":                   "passes over",
		"/etc/condor-ce/tokens.d/a~":                "passes over",
		"/home/frontend/.condor/tokens.d/a~":        "passes over",
		"/var/lib/gwms-frontend/tokens.d/a~":        "",
		"/etc/condor/tokens.d/deeper/a~":            "",
		"/home/frontend/.condor/tokens.d/deeper/a~": "",
		"/home/frontend/x.condor/tokens.d/a~":       "",
		"/root/.condor/tokens.d/a~":                 "", // where root's HTCondor does not look
	} {
		_, faults := load(t, config.Environment{Definitions: true}, pathLine(path)+`owner = "nobody-of-that-name"`)
		if got := text(t, faults); want == "" && got != "" || !strings.Contains(got, want) || strings.Contains(got, "belong to") {
			t.Errorf("%s: got %s", path, got)
		}
	}
}
