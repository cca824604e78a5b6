package sinks

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
)

// validation is what comes of a token block with these lines, whose private folders begin
// with one of the prefixes.
func validation(t *testing.T, prefixes []string, lines string) (agent.Validation, config.Faults) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokenagent.hcl")
	must(t, os.WriteFile(path, []byte("source \"silent\" \"s\" {}\ntoken \"t\" {\n  source = source.silent.s\n"+lines+"\n}\n"), 0o600))
	c, faults := config.Load(t.Context(), []string{path}, config.Kinds{
		Sources:  map[string]config.SourceDecoder{"silent": func(*config.Block) config.Source { return config.Source{Source: silent{}} }},
		Sinks:    Kinds,
		Validate: DecodeValidate,
	}, config.Environment{Scratch: func(config.Settings) []string { return prefixes }})
	if faults.HasErrors() {
		return agent.Validation{}, faults
	}
	return c.Renewers[0].Validation, faults
}

// shell is a validate block around a script, which finds told as $1, and a sink of that owner.
func shell(told, owner, more, script string) string {
	if owner != "" {
		owner = fmt.Sprintf("owner = %q", owner)
	}
	return fmt.Sprintf("%s\n  sink \"file\" {\n    path  = %q\n    %s\n  }\n  validate {\n    command = [\"/bin/sh\", \"-c\", %q, \"sh\", %q]\n  }\n",
		more, filepath.Join(told, "t"), owner, strings.ReplaceAll(script, "${", "$${"), told)
}

// open is a folder that every user can enter, with a folder told in it that all can write.
func open(t *testing.T) (folder, told string) {
	t.Helper()
	folder, err := os.MkdirTemp("", "validate-test-")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(folder)) })
	told = filepath.Join(folder, "told")
	must(t, errors.Join(os.Chmod(folder, 0o755), os.Mkdir(told, 0o755), os.Chmod(told, 0o1777)))
	return folder, told
}

// nobody is a user beside root that every machine has.
const nobody = "nobody"

const tell = `cd "$1" && stat -c '%a %U' "$BEARER_TOKEN_FILE" >mode && stat -c %a "${BEARER_TOKEN_FILE%/*}" >folder && cat "$BEARER_TOKEN_FILE" >token && ls "$_condor_SEC_TOKEN_DIRECTORY" >listed
id -un >user; cat; tr '\0' '\n' </proc/$$/environ >environ`

func TestAValidationOfAnotherUsersTokenIsThatUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files to another user")
	}
	folder, told := open(t)
	closed := filepath.Join(folder, "closed") // as a folder of the agent's is under UMask=0077
	must(t, os.Mkdir(closed, 0o700))
	v, faults := validation(t, []string{closed + "/v-", folder + "/v-"}, shell(told, nobody, `  profile = "htcondor"`+"\n  subject = \"a@b\"\n  scope = [\"condor:/READ\"]", tell))
	if faults.HasErrors() {
		t.Fatal(faults)
	}
	must(t, v.Validate(t.Context(), agent.Token{Secret: agent.NewSecret("token.of.mine"), Expires: time.Now().Add(time.Hour)}))
	for name, want := range map[string]string{"mode": "600 nobody", "folder": "755", "token": "token.of.mine", "listed": "token", "user": nobody} {
		got, err := os.ReadFile(filepath.Join(told, name))
		if err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	environ, err := os.ReadFile(filepath.Join(told, "environ"))
	must(t, err)
	if strings.Contains(string(environ), "token.of") || !strings.Contains(string(environ), "TOKENAGENT_EVENT=validate\n") {
		t.Errorf("environment:\n%s", environ)
	}
	for _, prefix := range []string{closed, folder} {
		if left, _ := filepath.Glob(prefix + "/v-*"); left != nil {
			t.Errorf("left behind: %v", left)
		}
	}
}

func TestAValidationThatFailsQuotesTheProgramButNeverTheToken(t *testing.T) {
	folder, told := open(t)
	v, faults := validation(t, []string{folder + "/v-"}, shell(told, "", "", `echo "refused $(cat "$BEARER_TOKEN_FILE")"; exit 4`))
	if faults.HasErrors() {
		t.Fatal(faults)
	}
	for _, text := range []string{"short", "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl"} {
		err := v.Validate(t.Context(), agent.Token{Secret: agent.NewSecret(text)})
		if err == nil || err.Error() != "/bin/sh: exit status 4; it said: refused [secret]" {
			t.Errorf("%v", err)
		}
		if f, ok := errors.AsType[*agent.Fault](err); !ok || f.Kind != agent.Transient {
			t.Errorf("%#v is not a transient fault", err)
		}
	}
}

func TestATokenThatCannotBeGivenToTheProgramIsAFaultOfConfiguration(t *testing.T) {
	folder, told := open(t)
	for name, prefixes := range map[string][]string{
		"no folder":                  nil,
		"a folder that is not there": {folder + "/none/v-"},
		"a file in its place":        {"/dev/null/v-"},
	} {
		v, faults := validation(t, prefixes, shell(told, "", "", "exit 0"))
		if faults.HasErrors() {
			t.Fatal(faults)
		}
		err := v.Validate(t.Context(), agent.Token{Secret: agent.NewSecret("t")})
		f, ok := errors.AsType[*agent.Fault](err)
		if !ok || f.Kind != agent.Configuration || !strings.HasPrefix(f.Error(), "/bin/sh was not run, since the token cannot be given to it: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestValidationsOfOneProgramWaitForEachOtherAndEqualOnesHaveOneKey(t *testing.T) {
	block := func(user string, words ...string) string {
		return fmt.Sprintf("  sink \"file\" {\n    path = \"/tmp/t\"\n  }\n  validate {\n    command = [\"%s\"]\n    user = %q\n  }\n", strings.Join(words, `", "`), user)
	}
	patient, _ := validation(t, nil, strings.Replace(block("root", "/bin/sh", "a"), "    user", "    timeout = \"10m\"\n    user", 1))
	one, _ := validation(t, nil, block("root", "/bin/sh", "a"))
	two, _ := validation(t, nil, block("root", "/bin/sh", "b"))
	other, _ := validation(t, nil, block("nobody", "/bin/sh", "a"))
	if one.Queue != "/bin/sh" || two.Queue != one.Queue || one.Key == two.Key || one.Key == other.Key || one.Key != "user=root /bin/sh a within 30s" || patient.Key != "user=root /bin/sh a within 10m0s" {
		t.Errorf("%+v, %+v, %+v, %+v", one, two, other, patient)
	}
}

func TestSweepScratchRemovesWhatAKilledAgentLeft(t *testing.T) {
	folder, _ := open(t)
	ours, theirs := filepath.Join(folder, "v-1"), filepath.Join(folder, "w-1")
	for _, dir := range []string{ours, theirs} {
		must(t, errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, scratchFile), []byte("t"), 0o600)))
	}
	file, link := filepath.Join(folder, "v-file"), filepath.Join(folder, "v-link")
	must(t, errors.Join(os.WriteFile(file, nil, 0o600), os.Symlink(theirs, link)))
	strangers := filepath.Join(folder, "v-2")
	if os.Geteuid() == 0 {
		must(t, errors.Join(os.Mkdir(strangers, 0o700), os.Chown(strangers, 54321, 54321)))
	}
	SweepScratch([]string{folder + "/v-", folder + "/none/v-"})
	if _, err := os.Stat(ours); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", ours, err)
	}
	for _, path := range []string{filepath.Join(theirs, scratchFile), file, link} {
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(strangers); os.Geteuid() == 0 && err != nil {
		t.Error(err)
	}
}
