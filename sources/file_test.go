package sources

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// signed is a token of those claims.
func signed(t testing.TB, claims map[string]any) string {
	t.Helper()
	key, err := keys.Generate("EdDSA")
	if err != nil {
		t.Fatal(err)
	}
	text, err := sign(newSource(t, key).signer, claims)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// wantFault checks that err is a fault of that kind whose text is one line with
// all of the texts in it.
func wantFault(t *testing.T, err error, kind agent.Kind, texts ...string) {
	t.Helper()
	f, ok := errors.AsType[*agent.Fault](err)
	if !ok {
		t.Fatalf("got %v, want a fault", err)
	}
	if f.Kind != kind {
		t.Errorf("the kind of %q is %s, want %s", err, f.Kind, kind)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("got %q, want it to have %q", err, text)
		}
	}
	if strings.ContainsAny(err.Error(), "\r\n") {
		t.Errorf("%q is more than a line", err)
	}
}

func TestFileIsCopiedInWhateverFormItLies(t *testing.T) {
	jwt := signed(t, map[string]any{"exp": time.Now().Add(time.Hour).Unix()})
	for name, c := range map[string]struct{ content, want string }{
		"a line":                     {jwt + "\n", jwt},
		"a line without its end":     {jwt, jwt},
		"a line in DOS manner":       {jwt + "\r\n", jwt},
		"blanks around it":           {"\n\n  " + jwt + "  \n\n", jwt},
		"comments before it":         {"# of the monitor\n\n# 2026\n" + jwt + "\n", jwt},
		"others behind it":           {jwt + "\nanother\n", jwt},
		"as environment":             {"BEARER_TOKEN=" + jwt + "\n", jwt},
		"as environment, in quotes":  {"BEARER_TOKEN='~" + jwt + "'\n", "~" + jwt},
		"as a credmon writes it":     {`{"access_token": "` + jwt + `", "expires_in": 1200, "token_type": "Bearer"}` + "\n", jwt},
		"in JSON of several lines":   {"{\n  \"access_token\": \"" + jwt + "\"\n}\n", jwt},
		"opaque":                     {"hvs.CAESIabc_-~+/==\n", "hvs.CAESIabc_-~+/=="},
		"encrypted":                  {"eyJh.b.c.d.e\n", "eyJh.b.c.d.e"},
		"opaque, as long as may be":  {strings.Repeat("a", agent.MaxText), strings.Repeat("a", agent.MaxText)},
		"in JSON, with escapes":      {`{"access_token":"\u0061b"}`, "ab"},
		"in JSON, among other names": {`{"refresh_token":"no","access_token":"yes","scope":["a"]}`, "yes"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "token")
			write(t, path, c.content, 0o600)
			got := issue(t, fileCopy{Path: path}, agent.Request{})
			if got.Secret.Reveal() != c.want {
				t.Errorf("got %q", got.Secret.Reveal())
			}
		})
	}
}

func TestFileExpiresAsItsTokenSays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	now := time.Now()
	changed := now.Add(-5 * time.Minute).Truncate(time.Second)
	exp := now.Add(30 * time.Minute).Truncate(time.Second)
	jwt, forever := signed(t, map[string]any{"exp": exp.Unix()}), signed(t, map[string]any{"sub": "x"})
	for name, c := range map[string]struct {
		content string
		assume  time.Duration
		want    time.Time
	}{
		"a JWT":                            {jwt, 0, exp},
		"a JWT, whatever is assumed":       {jwt, time.Hour, exp},
		"a JWT that says nothing":          {forever, 0, time.Time{}},
		"a JWT that says nothing, assumed": {forever, 20 * time.Minute, changed.Add(20 * time.Minute)},
		"opaque":                           {"opaque", 0, time.Time{}},
		"opaque, assumed":                  {"opaque", 20 * time.Minute, changed.Add(20 * time.Minute)},
		"opaque, and what JSON says":       {`{"access_token":"opaque","expires_in":600}`, 0, changed.Add(10 * time.Minute)},
		"JSON against what is assumed":     {`{"access_token":"opaque","expires_in":600}`, time.Hour, changed.Add(10 * time.Minute)},
	} {
		t.Run(name, func(t *testing.T) {
			write(t, path, c.content, 0o600)
			if err := os.Chtimes(path, changed, changed); err != nil {
				t.Fatal(err)
			}
			got := issue(t, fileCopy{Path: path, taking: taking{AssumeLifetime: c.assume}}, agent.Request{})
			if !got.Expires.Equal(c.want) {
				t.Errorf("it expires at %s, want %s", got.Expires, c.want)
			}
			if got.Issued.Before(now) {
				t.Errorf("it was issued at %s, before it was read", got.Issued)
			}
		})
	}
}

// What something else gets is held against the token block as what an issuer gives.
func TestACopiedTokenThatAllowsMoreThanItShouldIsRefused(t *testing.T) {
	wide := signed(t, map[string]any{"exp": time.Now().Add(time.Hour).Unix(), "scope": "storage.read:/ openid", "aud": []string{"a", "b"}})
	path := filepath.Join(t.TempDir(), "token")
	write(t, path, wide, 0o600)
	req := agent.Request{Scope: []string{"storage.read:/data"}, Audience: []string{"a"}}
	for name, kind := range map[string]struct {
		source func(widening string) agent.Source
		at     string
	}{
		"file":    {func(w string) agent.Source { return fileCopy{Path: path, taking: taking{OnWidened: w}} }, path + ": "},
		"command": {func(w string) agent.Source { return commanded(t, "echo "+wide, `on_widened = "`+w+`"`) }, "/program printed: "},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := kind.source("refuse").Issue(t.Context(), req)
			wantFault(t, err, agent.Configuration, kind.at+"the token's scope: storage.read:/ allows more than storage.read:/data, which was asked for; have whatever gets it ask for less, "+
				`add what is wanted to scope or audience in the token block, or write on_widened = "warn" in the source to take it`)
			got := issue(t, kind.source("warn"), req)
			if want := "the token's scope: storage.read:/ allows more than storage.read:/data, which was asked for"; got.Note != want {
				t.Errorf("got %q", got.Note)
			}
			if got.Beside != "beside what was asked for came the scope openid and the audience b" {
				t.Errorf("got %q", got.Beside)
			}
			if got := issue(t, kind.source("refuse"), agent.Request{}); got.Note != "" {
				t.Errorf("for no scope: %q", got.Note)
			}
		})
	}
}

func TestFilesThatHoldNoTokenAreRefused(t *testing.T) {
	half := signed(t, map[string]any{"exp": 1})
	half = half[:strings.LastIndex(half, ".")]
	for name, c := range map[string]struct {
		content string
		kind    agent.Kind
		want    string
	}{
		"empty":                  {"", agent.Transient, "it is empty; see to what keeps the file"},
		"blank":                  {" \n\t\r\n", agent.Transient, "it is empty"},
		"comments":               {"# nothing yet\n#\n", agent.Transient, "there are only comments in it"},
		"left by a crash":        {strings.Repeat("\x00", 100), agent.Transient, "there is a NUL byte in it, as in files that a crash leaves behind"},
		"a NUL byte behind":      {"token\n\x00", agent.Transient, "there is a NUL byte in it"},
		"null":                   {"null\n", agent.Transient, "there is no token"},
		"an error page":          {"<html>503</html>\n", agent.Transient, "it is not a token: only the characters of RFC 6750"},
		"a header":               {"Bearer token\n", agent.Transient, "it is not a token"},
		"quotes of a shell":      {"'token'\n", agent.Transient, "it is not a token"},
		"half of the quotes":     {"BEARER_TOKEN='token\n", agent.Transient, "it is not a token"},
		"quotes":                 {`"token"` + "\n", agent.Transient, "it is not a token"},
		"a mark of byte order":   {"\ufefftoken\n", agent.Transient, "it begins with a byte order mark"},
		"UTF-16":                 {"\xff\xfet\x00", agent.Transient, "it begins with a byte order mark"},
		"half a JWT":             {half, agent.Transient, "it begins like a JWT, but a part is missing"},
		"another variable":       {"TOKEN=abc\n", agent.Transient, "it is not a token"},
		"a variable of nothing":  {"BEARER_TOKEN=\n", agent.Transient, "there is no token"},
		"JSON without a token":   {`{"token":"x"}`, agent.Transient, "has no text under access_token"},
		"JSON with another type": {`{"access_token":7}`, agent.Transient, "has no text under access_token"},
		"JSON with null":         {`{"access_token":null}`, agent.Transient, "has no text under access_token"},
		"JSON with nothing":      {`{"access_token":""}`, agent.Transient, "there is no token"},
		"JSON with two":          {`{"access_token":"a","access_token":"b"}`, agent.Transient, "a name occurs twice in an object"},
		"JSON with a line end":   {`{"access_token":"a\nb"}`, agent.Transient, "it is not a token"},
		"half a JSON":            {`{"access_token":"a`, agent.Transient, "it is not valid JSON"},
		"too long for a token":   {strings.Repeat("a", agent.MaxText+1), agent.Transient, "it has 16383 bytes; readers take at most 16382"},
		"too long for a file":    {strings.Repeat("a\n", 40_000), agent.Transient, "it is larger than 65536 bytes"},
		"expired":                {signed(t, map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}), agent.Transient, "the token in it expired at "},
		"not valid yet":          {signed(t, map[string]any{"exp": time.Now().Add(2 * time.Hour).Unix(), "nbf": time.Now().Add(time.Hour).Unix()}), agent.Transient, "the token is not valid before "},
		"an end in milliseconds": {signed(t, map[string]any{"exp": time.Now().UnixMilli()}), agent.Configuration, "this looks like milliseconds"},
		"an end in words":        {signed(t, map[string]any{"exp": "tomorrow"}), agent.Configuration, "the token's exp is not a number of seconds"},
		"no JSON in a JWT":       {"eyJh.b.c", agent.Configuration, "the token in it: header: "},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "token")
			write(t, path, c.content, 0o600)
			_, err := fileCopy{Path: path}.Issue(t.Context(), agent.Request{})
			wantFault(t, err, c.kind, path+": ", c.want)
			if text := strings.TrimSpace(c.content); len(text) > 20 && strings.Contains(err.Error(), text[:20]) {
				t.Errorf("%q quotes the file", err)
			}
		})
	}
}

// A file that whoever keeps it is about to write is worth waiting for; what is no
// file is not, and holds up nobody.
func TestWhatIsNoFileIsRefusedAtOnce(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	socket, err := net.Listen("unix", path("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if err := errors.Join(unix.Mkfifo(path("fifo"), 0o600), os.Mkdir(path("folder"), 0o700), os.Symlink("/dev/null", path("device")), os.Symlink("loop", path("loop"))); err != nil {
		t.Fatal(err)
	}
	device := "it is a device, not a regular file"
	if os.Geteuid() == 0 {
		device = "/dev/null: " + device // where root's walk came to
	}
	for name, c := range map[string]struct {
		kind agent.Kind
		want string
	}{
		"gone":   {agent.Transient, "no such file or directory; it is read as soon as something writes it"},
		"fifo":   {agent.Configuration, "it is a FIFO, not a regular file"},
		"folder": {agent.Configuration, "it is a directory, not a regular file"},
		"socket": {agent.Configuration, "it is a socket, not a regular file"},
		"device": {agent.Configuration, device},
		"loop":   {agent.Transient, "too many levels of symbolic links"},
	} {
		_, err := fileCopy{Path: path(name)}.Issue(t.Context(), agent.Request{})
		wantFault(t, err, c.kind, path(name)+": "+c.want)
	}
}

func TestAFileThatMayNotBeReadSaysWhoNeedsTo(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root reads everything")
	}
	path := filepath.Join(t.TempDir(), "token")
	write(t, path, "token", 0)
	_, err := fileCopy{Path: path}.Issue(t.Context(), agent.Request{})
	wantFault(t, err, agent.Configuration, "permission denied; the user who runs tokenagent needs the permission to read it")
}

// A pod's files are links to links, and exchanged as a whole.
func TestALinkToAFileIsFollowed(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "..1"), 0o700), os.Symlink("..1", filepath.Join(dir, "..data")), os.Symlink("..data/token", filepath.Join(dir, "token"))); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "..1", "token"), "projected", 0o600)
	if got := issue(t, fileCopy{Path: filepath.Join(dir, "token")}, agent.Request{}); got.Secret.Reveal() != "projected" {
		t.Errorf("got %q", got.Secret.Reveal())
	}
}

// Whoever owns a folder on the way may put a link to anybody's secret there, which
// root would copy to a file that its owner can read.
func TestNobodyHasAnothersSecretCopied(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	const user = 65534
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write(t, path("secret"), "secret", 0o600)
	write(t, path("public"), "public", 0o644)
	err := errors.Join(
		os.Mkdir(path("home"), 0o700), os.Symlink(path("secret"), path("home/link")), os.Symlink("../public", path("home/open")),
		os.Symlink(dir, path("home/folder")), os.Symlink("home", path("way")), os.Symlink("secret", path("own")), os.Symlink("secret", path("theirs")),
		os.Lchown(path("home"), user, user), os.Lchown(path("theirs"), user, user),
	)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path("home/token"), "token", 0o600)
	if err := os.Chown(path("home/token"), user, user); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"home/link", "home/folder/secret", "way/link", "theirs"} {
		_, err := fileCopy{Path: path(name)}.Issue(t.Context(), agent.Request{})
		wantFault(t, err, agent.Configuration, path(name)+": ")
		wantFault(t, err, agent.Configuration, "permission denied for user nobody, to whom "+dir)
	}
	for name, want := range map[string]string{"home/token": "token", "home/open": "public", "way/token": "token", "own": "secret"} {
		if got := issue(t, fileCopy{Path: path(name)}, agent.Request{}); got.Secret.Reveal() != want {
			t.Errorf("%s: got %q", name, got.Secret.Reveal())
		}
	}
}

func TestReadingAFileStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := (fileCopy{Path: "/no/file"}).Issue(ctx, agent.Request{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// FuzzTokenIn holds that whatever lies in a file, what is found in it is one line
// that a reader can present, and that no error quotes it.
func FuzzTokenIn(f *testing.F) {
	for _, seed := range []string{"token\n", "# x\nBEARER_TOKEN=abc", `{"access_token":"a"}`, "eyJh.b.c", "\x00", "{", "null", "a b\r\n", "{}\n{}", "\ufeffx"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		text, err := taking{}.tokenIn(data)
		switch {
		case err != nil && len(data) > 12 && strings.Contains(err.Error(), string(data)):
			t.Errorf("%q quotes the file", err)
		case err == nil && agent.CheckText(text.Reveal()) != nil:
			t.Errorf("got %q", text.Reveal())
		}
	})
}
