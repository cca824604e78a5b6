package sinks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
)

// silent is a source that is never asked.
type silent struct{}

func (silent) Issue(context.Context, agent.Request) (agent.Token, error) {
	return agent.Token{}, errors.New("not asked")
}

// load decodes a sink "file" block with these lines in it.
func load(t testing.TB, env config.Environment, lines string) (*file, config.Faults) {
	t.Helper()
	return loadToken(t, env, "", lines)
}

// loadToken is load for a token that has these attributes too.
func loadToken(t testing.TB, env config.Environment, attributes, lines string) (*file, config.Faults) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokenagent.hcl")
	text := fmt.Sprintf("source \"silent\" \"s\" {\n}\ntoken \"t\" {\n  source = source.silent.s\n%s  sink \"file\" {\n%s\n  }\n}\n", attributes, lines)
	must(t, os.WriteFile(path, []byte(text), 0o600))
	kinds := config.Kinds{
		Sources: map[string]config.SourceDecoder{"silent": func(b *config.Block) config.Source {
			var none struct{}
			b.Decode(&none)
			return config.Source{Source: silent{}}
		}},
		Sinks: Kinds,
	}
	c, faults := config.Load(t.Context(), []string{path}, kinds, env)
	if faults.HasErrors() {
		return nil, faults
	}
	return c.Renewers[0].Sinks[0].Sink.(*file), faults
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fine is load for a block without faults.
func fine(t testing.TB, lines string) *file {
	t.Helper()
	s, faults := load(t, config.Environment{}, lines)
	if len(faults) > 0 {
		t.Fatalf("%s\nhas the faults\n%s", lines, text(t, faults))
	}
	return s
}

// text is what people are shown, unwrapped.
func text(t testing.TB, faults config.Faults) string {
	t.Helper()
	var out strings.Builder
	must(t, faults.WriteText(&out))
	return strings.Join(strings.Fields(out.String()), " ")
}

func pathLine(path string) string { return fmt.Sprintf("path = %q\n", path) }

func token(text string, life time.Duration) agent.Token {
	now := time.Now()
	return agent.Token{Secret: agent.NewSecret(text), Issued: now, Expires: now.Add(life)}
}

func TestTheFormatsOfAFile(t *testing.T) {
	for format, want := range map[string]string{
		"token": "abc.def-_~+/=\n",
		"raw":   "abc.def-_~+/=",
		"json":  `{"access_token":"abc.def-_~+/=","expires_in":3600,"token_type":"Bearer"}` + "\n",
		"env":   "BEARER_TOKEN=abc.def-_~+/=\n",
	} {
		t.Run(format, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "token")
			s := fine(t, pathLine(path)+fmt.Sprintf("format = %q", format))
			synctest.Test(t, func(t *testing.T) {
				if w, err := s.Put(t.Context(), token("abc.def-_~+/=", time.Hour)); !w.Changed || err != nil {
					t.Fatalf("Put says %v, %v", w.Changed, err)
				}
			})
			got, err := os.ReadFile(path)
			must(t, err)
			if string(got) != want {
				t.Errorf("the file holds %q, want %q", got, want)
			}
			if read, err := s.Read(t.Context()); err != nil || read.Reveal() != "abc.def-_~+/=" {
				t.Errorf("Read says %q, %v", read.Reveal(), err)
			}
		})
	}
}

// A shell takes a token of any characters from the file as it is.
func TestAShellReadsEveryTokenOfTheFormatEnv(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	s := fine(t, pathLine(path)+`format = "env"`)
	for _, text := range []string{"ya29.c.d", "123|abc", "https://x.example/?a=$HOME&b=(c);d#e", "a:~root", "~/a", "a*[0]!", "a==="} {
		if _, err := s.Put(t.Context(), token(text, time.Hour)); err != nil {
			t.Fatal(err)
		}
		if read, err := s.Read(t.Context()); err != nil || read.Reveal() != text {
			t.Errorf("Read says %q, %v", read.Reveal(), err)
		}
		got, err := exec.Command("sh", "-c", `. "$0"; printf %s "$BEARER_TOKEN"`, path).Output()
		if err != nil || string(got) != text {
			t.Errorf("the shell reads %q, %v", got, err)
		}
	}
}

func TestJSONOfATokenWithoutExpiryDoesNotNameOne(t *testing.T) {
	got, err := formats["json"].render(agent.Token{Secret: agent.NewSecret("abc")}, time.Now())
	must(t, err)
	if want := `{"access_token":"abc","token_type":"Bearer"}` + "\n"; string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// HTCondor takes a name that ends in .use for a token of a job's user, and of what
// is in it access_token and expires_in.
func TestATokenForJobsIsLeftAsACredmonDoes(t *testing.T) {
	dir := t.TempDir()
	s := fine(t, pathLine(dir+"/alice/scitokens.use")+"format = \"json\"\ncreate_dir = true")
	put(t, s, token("abc", time.Hour), true)
	names, err := filepath.Glob(dir + "/alice/*")
	must(t, err)
	if len(names) != 1 {
		t.Fatalf("in the user's folder lie %q", names)
	}
	content, err := os.ReadFile(dir + "/alice/scitokens.use")
	must(t, err)
	var got struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
	}
	must(t, json.Unmarshal(content, &got))
	if got.AccessToken != "abc" || got.ExpiresIn < 3500 || got.ExpiresIn > 3600 {
		t.Errorf("it says %+v", got)
	}
}

func TestTheSameTokenIsNotWrittenAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	s := fine(t, pathLine(path)+`format = "json"`)
	synctest.Test(t, func(t *testing.T) {
		same := token("abc", time.Hour)
		put(t, s, same, true)
		time.Sleep(time.Minute)
		put(t, s, same, false)
		must(t, os.Remove(path))
		put(t, s, same, true)
		content, err := os.ReadFile(path)
		must(t, err)
		if !strings.Contains(string(content), `"expires_in":3540`) {
			t.Errorf("what is written a minute later says %s", content)
		}
		put(t, s, token("def", time.Hour), true)
	})
}

// An opaque token may keep its text and get a longer life; the file tells both.
func TestATokenWithAnotherTextOrExpiryIsWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	s := fine(t, pathLine(path)+`format = "json"`)
	synctest.Test(t, func(t *testing.T) {
		put(t, s, token("abc", time.Hour), true)
		put(t, s, token("abc", 2*time.Hour), true)
		content, err := os.ReadFile(path)
		must(t, err)
		if !strings.Contains(string(content), `"expires_in":7200`) {
			t.Errorf("the file says %s", content)
		}
		put(t, s, token("another", 2*time.Hour), true) // that expires in the same second
	})
}

func put(t testing.TB, s *file, k agent.Token, change bool) {
	t.Helper()
	if w, err := s.Put(t.Context(), k); w.Changed != change || err != nil {
		t.Errorf("Put says %v, %v; want %v", w.Changed, err, change)
	}
}

func TestReadTellsGarbageFromTokens(t *testing.T) {
	for format, contents := range map[string][]string{
		"token": {"", "\n", "null null", "a\nb\n", "\xff\xfe", "Bearer abc", strings.Repeat("\x00", 100), `"abc"`},
		"json":  {"", "abc", "{}", `{"access_token":7}`, `{"access_token":"a b"}`, "[]"},
		"env":   {"", "abc", "BEARER_TOKEN=", "BEARER_TOKEN=a b", "TOKEN=abc"},
	} {
		path := filepath.Join(t.TempDir(), "token")
		s := fine(t, pathLine(path)+fmt.Sprintf("format = %q", format))
		for _, content := range contents {
			must(t, os.WriteFile(path, []byte(content), 0o600))
			if got, err := s.Read(t.Context()); err == nil || strings.TrimSpace(content) != "" && strings.Contains(err.Error(), content) {
				t.Errorf("format %s: of %q Read says %q, %v", format, content, got.Reveal(), err)
			}
		}
	}
	s := fine(t, pathLine(filepath.Join(t.TempDir(), "none")))
	if _, err := s.Read(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of no file Read says %v", err)
	}
}

func FuzzFormats(f *testing.F) {
	for _, seed := range []string{"abc\n", `{"access_token":"abc","expires_in":5,"token_type":"Bearer"}`, "BEARER_TOKEN=abc\n", "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, content string) {
		for name, format := range formats {
			found, err := format.token([]byte(content))
			if err != nil {
				continue
			}
			content, err := format.render(agent.Token{Secret: agent.NewSecret(found)}, time.Now())
			must(t, err)
			again, err := format.token(content)
			if err != nil || again != found {
				t.Errorf("format %s: %q is read back as %q, %v", name, found, again, err)
			}
		}
	})
}

func TestErrorsOfPutAreFaultsOfWriting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	s := fine(t, pathLine(path))
	must(t, os.Mkdir(path, 0o700))
	_, err := s.Put(t.Context(), token("abc", time.Hour))
	fault, ok := errors.AsType[*agent.Fault](err)
	if !ok || fault.Kind != agent.Writing || !strings.Contains(err.Error(), path+": a directory") {
		t.Errorf("Put says %v", err)
	}
}

func TestARestartKnowsTheFileAgain(t *testing.T) {
	lines := pathLine(filepath.Join(t.TempDir(), "token"))
	first := fine(t, lines)
	put(t, first, token("abc", time.Hour), true)
	mark := first.mark()
	if strings.Contains(string(mark), "abc") {
		t.Errorf("the mark shows the token: %s", mark)
	}

	second := fine(t, lines)
	if d, err := second.Adopt(t.Context(), mark); d != "" || err != nil {
		t.Fatalf("Adopt says %q, %v", d, err)
	}
	if d, err := second.Look(t.Context()); d != "" || err != nil {
		t.Errorf("after adoption Look says %q, %v", d, err)
	}
	other := fine(t, lines+`mode = "0640"`)
	if d, err := other.Adopt(t.Context(), mark); d != "its mode is 0600, not 0640" || err != nil {
		t.Errorf("with another mode Adopt says %q, %v", d, err)
	}
	must(t, os.Remove(first.path()))
	third := fine(t, lines)
	if d, err := third.Adopt(t.Context(), mark); d != "it is gone" || err != nil {
		t.Errorf("without the file Adopt says %q, %v", d, err)
	}
	if _, err := third.Adopt(t.Context(), json.RawMessage("garbage")); err == nil || !strings.HasPrefix(err.Error(), third.path()+": ") {
		t.Errorf("of garbage Adopt says %v", err)
	}
}

func TestRemoveTakesAwayOnlyWhatWasPut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	s := fine(t, pathLine(path))
	put(t, s, token("abc", time.Hour), true)
	must(t, os.WriteFile(path, []byte("somebody else's"), 0o600))
	if err := s.Remove(t.Context()); err == nil || !strings.Contains(err.Error(), "left as it is, since somebody changed it") {
		t.Errorf("of somebody else's file Remove says %v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("somebody else's file is gone: %v", err)
	}
	put(t, s, token("def", time.Hour), true)
	must(t, s.Remove(t.Context()))
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
	must(t, s.Remove(t.Context()))
	must(t, os.Remove(filepath.Dir(path)))
	must(t, s.Remove(t.Context()))
}

func TestFaultsOfABlock(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "folder"), 0o700))
	here := pathLine(filepath.Join(dir, "token"))
	for name, test := range map[string]struct {
		lines string
		want  []string
	}{
		"no path":           {"", []string{"missing attribute path"}},
		"the root":          {`path = "/"`, []string{"names no file"}},
		"a long name":       {pathLine(dir + "/" + strings.Repeat("x", 201)), []string{"201 bytes; at most 200"}},
		"the agent's own":   {pathLine(dir + "/.tokenagent.x"), []string{"the agent's own"}},
		"a folder":          {pathLine(dir + "/folder"), []string{"a directory, which is not replaced; name a file in it", "^^^"}},
		"unknown format":    {here + `format = "xml"`, []string{"unknown format", `"json" or "env"`}},
		"unreadable":        {here + `mode = "0200"`, []string{"the owner could not read"}},
		"unknown user":      {here + `owner = "nobody-of-that-name"`, []string{"unknown user", "getent knows none"}},
		"unknown group":     {here + `group = "nobody-of-that-name"`, []string{"unknown group", "getent knows none"}},
		"unknown attribute": {here + `owners = "x"`, []string{"did you mean owner?"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, faults := load(t, config.Environment{}, test.lines)
			if !faults.HasErrors() {
				t.Fatal("there is no fault")
			}
			for _, want := range test.want {
				if got := text(t, faults); !strings.Contains(got, want) {
					t.Errorf("the fault does not say %q:\n%s", want, got)
				}
			}
		})
	}
}

func TestWarningsOfABlock(t *testing.T) {
	dir := t.TempDir()
	open := filepath.Join(dir, "open")
	must(t, errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Mkdir(open, 0o700), os.Chmod(open, 0o777)))
	for name, test := range map[string]struct{ lines, want string }{
		"a missing folder": {pathLine(dir + "/none/token"), "the folder does not exist yet"},
		"an open folder":   {pathLine(open + "/token"), "chmod go-w " + open},
		"an open mode":     {pathLine(dir+"/token") + `mode = "0644"`, "the mode is wide open"},
	} {
		t.Run(name, func(t *testing.T) {
			s, faults := load(t, config.Environment{}, test.lines)
			if s == nil {
				t.Fatalf("there are faults:\n%s", text(t, faults))
			}
			if got := text(t, faults.Warnings()); !strings.Contains(got, test.want) {
				t.Errorf("the warning does not say %q:\n%s", test.want, got)
			}
		})
	}
}

func TestAFolderThatKeepsOthersOutMakesUpForAnOpenMode(t *testing.T) {
	dir := t.TempDir()
	must(t, errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o755)))
	folder := filepath.Join(dir, "folder")
	must(t, os.Mkdir(folder, 0o700))
	for _, c := range []struct {
		folder, mode string
		warned       bool
	}{
		{"0700", "0644", false}, {"0750", "0644", false}, {"0750", "0666", true}, {"0750", "0660", true}, {"0751", "0644", true}, {"0700", "0640", false},
	} {
		mode, err := strconv.ParseUint(c.folder, 8, 32)
		must(t, errors.Join(err, os.Chmod(folder, fs.FileMode(mode))))
		_, faults := load(t, config.Environment{}, pathLine(folder+"/token")+`mode = "`+c.mode+`"`)
		if got := text(t, faults.Warnings()); strings.Contains(got, "wide open") != c.warned {
			t.Errorf("mode %s in a folder of mode %s:\n%s", c.mode, c.folder, got)
		}
	}
}

func TestDefinitionsAloneLookAtNothingOnTheMachine(t *testing.T) {
	s, faults := load(t, config.Environment{Definitions: true}, `
		path  = "/nowhere/at/all/token"
		owner = "nobody-of-that-name"
		group = "nobody-of-that-name"`)
	if s == nil || len(faults) > 0 {
		t.Errorf("there are faults:\n%s", text(t, faults))
	}
}

func TestAnOrdinaryUserGivesNothingAway(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may give files away")
	}
	here := pathLine(filepath.Join(t.TempDir(), "token"))
	for lines, want := range map[string]string{
		`owner = "0"`:     "only root can give a file to another user",
		`group = "54399"`: "the agent is not in that group",
	} {
		_, faults := load(t, config.Environment{}, here+lines)
		if !strings.Contains(faults.Error(), want) {
			t.Errorf("%s gives %v, want %q", lines, faults, want)
		}
	}
	fine(t, here+fmt.Sprintf("owner = \"%d\"\ngroup = \"%d\"", os.Geteuid(), os.Getegid()))
}

// home is a folder of the user with that number, below folders that all can pass.
func home(t *testing.T, uid int) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can write for others")
	}
	base := t.TempDir()
	dir := filepath.Join(base, "home")
	must(t, errors.Join(os.Chmod(base, 0o755), os.Chmod(filepath.Dir(base), 0o755), os.Mkdir(dir, 0o700), os.Chown(dir, uid, uid)))
	return dir
}

func TestTheOwnerOfAFolderMustBeNamed(t *testing.T) {
	here := pathLine(filepath.Join(home(t, 65534), "token"))
	for lines, want := range map[string]string{
		"":                                  `write owner = "nobody"`,
		`owner = "54321"`:                   "write group as well",
		"owner = \"nobody\"\ngroup = \"0\"": "who does not belong to it",
	} {
		_, faults := load(t, config.Environment{}, here+lines)
		if !faults.HasErrors() || !strings.Contains(text(t, faults), want) {
			t.Errorf("%q gives\n%swant %q", lines, text(t, faults), want)
		}
	}
	s := fine(t, here+`owner = "nobody"`)
	put(t, s, token("abc", time.Hour), true)
	info, err := os.Stat(s.path())
	must(t, err)
	if info.Mode() != 0o600 {
		t.Errorf("the mode is %v", info.Mode())
	}
}

// HTCondor's RPM puts its folder, root's, below one of the user condor, who can replace it.
func TestAFolderOfRootBelowAnotherUsersSaysWhatToChoose(t *testing.T) {
	condors := home(t, 54321)
	roots := filepath.Join(condors, "oauth_credentials")
	must(t, os.Mkdir(roots, 0o700))
	for lines, want := range map[string]string{
		"":                                     `choose a path whose folders are all root's, or write owner = "54321" if the rest of them are that user's`,
		"owner = \"54321\"\ngroup = \"54321\"": "a folder of root in a folder of somebody else, who could replace it; move it, or chown it",
	} {
		_, faults := load(t, config.Environment{}, pathLine(filepath.Join(roots, "token"))+lines)
		if got := strings.Join(strings.Fields(text(t, faults)), " "); !strings.Contains(got, want) {
			t.Errorf("%q gives\n%swant %q", lines, got, want)
		}
	}
}

// What another user does must not keep the agent from starting.
func TestWhatOthersDoOnlyWarns(t *testing.T) {
	base := filepath.Dir(home(t, 54321))
	tmp := filepath.Join(base, "tmp")
	must(t, errors.Join(os.Mkdir(tmp, 0o700), os.Chmod(tmp, 0o777|os.ModeSticky)))
	theirs := "owner = \"54321\"\ngroup = \"54321\""
	for name, test := range map[string]struct {
		change func() error
		lines  string
		want   string
	}{
		"the owner gives its folder away":             {func() error { return os.Chown(base+"/home", 100000, 100000) }, pathLine(base+"/home/token") + theirs, "neither to root nor to uid 54321"},
		"the owner makes a link":                      {func() error { return os.Symlink("/etc", base+"/home/link") }, pathLine(base+"/home/link/token") + theirs, "a symbolic link"},
		"the owner makes a folder in its place":       {func() error { return os.Mkdir(base+"/home/token", 0o700) }, pathLine(base+"/home/token") + theirs, "a directory"},
		"somebody makes a link where root's token is": {func() error { return os.Symlink("/etc/passwd", tmp+"/bt_u0") }, pathLine(tmp + "/bt_u0"), "a symbolic link"},
		"somebody makes a folder where root's is":     {func() error { return errors.Join(os.Mkdir(tmp+"/root", 0o755), os.Chown(tmp+"/root", 54399, 54399)) }, pathLine(tmp + "/root/token"), "belongs to uid 54399"},
	} {
		t.Run(name, func(t *testing.T) {
			must(t, errors.Join(os.RemoveAll(base+"/home"), os.Mkdir(base+"/home", 0o700), os.Chown(base+"/home", 54321, 54321), test.change()))
			s, faults := load(t, config.Environment{}, test.lines)
			if s == nil || !strings.Contains(text(t, faults.Warnings()), test.want) {
				t.Errorf("want a warning that says %q, got\n%s", test.want, text(t, faults))
			}
		})
	}
	must(t, os.Symlink("/etc/passwd", base+"/link"))
	if s, faults := load(t, config.Environment{}, pathLine(base+"/link")); s != nil {
		t.Errorf("a link that only root can have made is no fault:\n%s", text(t, faults))
	}
}

// validated is what is found of an empty sink block.
func validated(t *testing.T, validate func(b *config.Block)) config.Faults {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokenagent.hcl")
	must(t, os.WriteFile(path, []byte("source \"silent\" \"s\" {\n}\ntoken \"t\" {\n  source = source.silent.s\n  sink \"none\" {\n  }\n}\n"), 0o600))
	_, faults := config.Load(t.Context(), []string{path}, config.Kinds{
		Sources: map[string]config.SourceDecoder{"silent": func(*config.Block) config.Source { return config.Source{Source: silent{}} }},
		Sinks: map[string]config.SinkDecoder{"none": func(b *config.Block, _ agent.Request) config.Sink {
			validate(b)
			return config.Sink{Target: agent.Target{Sink: other{}}}
		}},
	}, config.Environment{})
	return faults
}

func TestWhatIsWrongWithABlockIsToldOnce(t *testing.T) {
	dir := t.TempDir()
	for name, lines := range map[string]string{
		"the name of the file": pathLine(filepath.Join(dir, strings.Repeat("x", 300))),
		"the format":           pathLine(filepath.Join(dir, "a")) + `format = "xml"`,
		"the mode":             pathLine(filepath.Join(dir, "a")) + `mode = "0044"`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, faults := loadToken(t, condor("SEC_TOKEN_DIRECTORY", dir), idtoken, lines); len(faults) != 1 {
				t.Errorf("got %d: %s", len(faults), text(t, faults))
			}
		})
	}
}

func TestDefinitionsAloneReadTheFilesOfOthers(t *testing.T) {
	lines := pathLine(filepath.Join(home(t, 54321), "token")) + "owner = \"54321\"\ngroup = \"54321\""
	put(t, fine(t, lines), token("abc", time.Hour), true)
	s, _ := load(t, config.Environment{Definitions: true}, lines)
	if got, err := s.Read(t.Context()); got.Reveal() != "abc" || err != nil {
		t.Errorf("Read says %q, %v", got.Reveal(), err)
	}
}

func TestAUserWithoutAnEntryIsGivenAFile(t *testing.T) {
	s := fine(t, pathLine(filepath.Join(home(t, 54321), "token"))+"owner = \"54321\"\ngroup = \"54321\"")
	put(t, s, token("abc", time.Hour), true)
}

func TestTheDocumentedBlockLoads(t *testing.T) {
	source, err := os.ReadFile("block.go")
	must(t, err)
	_, rest, _ := strings.Cut(string(source), "//\tsink \"file\" {\n")
	block, _, found := strings.Cut(rest, "//\t}\n")
	if !found {
		t.Fatal("block.go documents no block")
	}
	if _, faults := load(t, config.Environment{Definitions: true}, strings.ReplaceAll(block, "//", "")); len(faults) > 0 {
		t.Errorf("the documented block has faults:\n%s", text(t, faults))
	}
}
