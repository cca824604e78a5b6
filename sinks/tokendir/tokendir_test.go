package tokendir

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// rules has a case for each rule of the reading.
var rules = map[string]struct {
	files map[string]string
	want  string
}{
	"a good token is used": {
		map[string]string{"a": good},
		"a:1 sent\n",
	},
	"excluded names": {
		map[string]string{
			".hidden": good, "a.pl": good, "a.py": good, "a.sh": good, "a~": good, "#a#": good,
			"a.rpmsave": good, "a.rpmnew": good, "a.dpkg-old": good, "a.dpkg-dist": good, "a.cfsaved": good,
		},
		"#a# name\n.hidden name\na.cfsaved name\na.dpkg-dist name\na.dpkg-old name\na.pl name\na.py name\n" +
			"a.rpmnew name\na.rpmsave name\na.sh name\na~ name\n",
	},
	"every other name is read, also that of a leftover": {
		map[string]string{"a.tmp": good, "b.bak": good, "c.json": good, "d.pl.x": good},
		"a.tmp:1 sent\nb.bak:1 shadowed by a.tmp\nc.json:1 shadowed by a.tmp\nd.pl.x:1 shadowed by a.tmp\n",
	},
	"bytes give the order: capitals first, 10 before 9": {
		map[string]string{"token9": good, "token10": good, "a": elsePOO, "Z": elsePOO},
		"Z:1 sent\na:1 shadowed by Z\ntoken10:1 sent\ntoken9:1 shadowed by token10\n",
	},
	"a daemon reads what it made for itself first": {
		map[string]string{"10-a": good, "SCHEDD_auto_generated_token": good, "startd_AUTO_GENERATED_TOKEN": good},
		"SCHEDD_auto_generated_token:1 sent only SCHEDD\nstartd_AUTO_GENERATED_TOKEN:1 sent only STARTD\n10-a:1 sent\n",
	},
	"what a daemon made for itself is read by all in its turn": {
		map[string]string{"a": good, "SCHEDD_auto_generated_token": good},
		"SCHEDD_auto_generated_token:1 sent\na:1 shadowed by SCHEDD_auto_generated_token\n",
	},
	"only the first token of a daemon's own file is used": {
		map[string]string{"0": good, "SCHEDD_auto_generated_token": good + good},
		"SCHEDD_auto_generated_token:1 sent only SCHEDD\nSCHEDD_auto_generated_token:2 shadowed by 0\n0:1 sent\n",
	},
	"comments, empty lines and blanks around a token": {
		map[string]string{"a": "# my token\n\n   # indented\n \t" + strings.TrimSpace(good) + " \n"},
		"a:4 sent\n",
	},
	"several tokens in a file, one a line": {
		map[string]string{"a": good + other + good},
		"a:1 sent\na:2 sent\na:3 shadowed by a\n",
	},
	"a token behind 1.5 MB of comments": {
		map[string]string{"a": strings.Repeat("# nothing but comments in this line\n", 42000) + good, "b": good},
		"a:42001 sent\nb:1 shadowed by a\n",
	},
	"no line end at the end": {
		map[string]string{"a": strings.TrimSpace(good)},
		"a:1 sent\n",
	},
	"tokens of another issuer or key are passed over": {
		map[string]string{"a": other, "b": elsePOO, "c": good},
		"a:1 sent\nb:1 sent\nc:1 sent\n",
	},
	"an expired token hides a good one": {
		map[string]string{"a": expired, "b": good},
		"a:1 sent, expired\nb:1 shadowed by a\n",
	},
	"a token from the future is accepted": {
		map[string]string{"a": notYet, "b": good},
		"a:1 sent\nb:1 shadowed by a\n",
	},
	"a token that is signed with a key pair hides a good one": {
		map[string]string{"a": claimSet{alg: "RS256"}.String() + strings.Repeat("A", 299), "b": good},
		"a:1 sent, refused\nb:1 shadowed by a\n",
	},
	"a signature that is cut short hides a good one": {
		map[string]string{"a": good[:len(good)-2], "b": good},
		"a:1 sent, refused\nb:1 shadowed by a\n",
	},
	"a weaker token hides a stronger one": {
		map[string]string{"a": claimSet{scope: "condor:/READ"}.String(), "b": claimSet{scope: "condor:/DAEMON"}.String()},
		"a:1 sent\nb:1 shadowed by a\n",
	},
	"without kid or iss a token is passed over": {
		map[string]string{"b": claimSet{kid: "-"}.String(), "c": claimSet{iss: "-"}.String(), "d": good},
		"b:1 incomplete\nc:1 incomplete\nd:1 sent\n",
	},
	"lines that are no token are passed over": {
		map[string]string{"a": "nonsense\n" + good, "b": "nonsense"},
		"a:2 sent\nb no token\n",
	},
	"NUL bytes end the reading": {
		map[string]string{"a": other, "b": strings.Repeat("\x00", 100), "c": other, "d": good},
		"a:1 sent\nb spins\nc:1 shadowed by a\nd:1 never reached by b\n",
	},
	"a NUL byte behind a token": {
		map[string]string{"a": strings.TrimSpace(good) + "\x00\n" + other, "b": elsePOO},
		"a:1 sent\na spins\nb:1 never reached by a\n",
	},
	"byte order mark": {
		map[string]string{"a": "\ufeff" + good, "b": good},
		"a no token\nb:1 sent\n",
	},
	"nothing in it": {
		map[string]string{"a": "", "b": "# only a comment\n\n"},
		"a no token\nb no token\n",
	},
}

func TestEveryRuleOfTheReading(t *testing.T) {
	for name, c := range rules {
		t.Run(name, func(t *testing.T) {
			r := mustRead(t, directory(t, c.files), self())
			if diff := cmp.Diff(c.want, verdicts(r)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDirectoriesArePassedOver(t *testing.T) {
	dir := directory(t, map[string]string{"b": good})
	must(t, os.Mkdir(filepath.Join(dir, "a"), 0o700))
	must(t, os.Symlink("a", filepath.Join(dir, "link")))
	wantVerdicts(t, dir, self(), "a directory\nb:1 sent\nlink directory\n")
}

func TestOwnerMustBeTheReader(t *testing.T) {
	dir := directory(t, map[string]string{"a": good})
	must(t, os.Chmod(filepath.Join(dir, "a"), 0o644))
	somebody := Reader{User: User{UID: os.Getuid() + 1}}
	r := mustRead(t, dir, somebody)
	if got := verdicts(r); got != "a owner\n" {
		t.Fatal(got)
	}
	if len(r.Entries[0].Remarks) != 1 { // the mode would be the next to be found fault with
		t.Error(r.Entries[0].Remarks)
	}
}

func TestModeMustExcludeGroupAndOthers(t *testing.T) {
	dir := directory(t, nil)
	for name, mode := range map[string]fs.FileMode{"0400": 0o400, "0600": 0o600, "0700": 0o700, "0601": 0o601, "0640": 0o640, "0604": 0o604, "0620": 0o620} {
		path := filepath.Join(dir, name)
		must(t, errors.Join(os.WriteFile(path, []byte(claimSet{kid: name}.String()), 0o600), os.Chmod(path, mode)))
	}
	wantVerdicts(t, dir, self(), "0400:1 sent\n0600:1 sent\n0601 mode\n0604 mode\n0620 mode\n0640 mode\n0700:1 sent\n")
}

func TestFilesOfAnotherAreNotEvenRead(t *testing.T) {
	dir := directory(t, map[string]string{"a": good})
	r := mustRead(t, dir, Reader{User: User{UID: os.Getuid() + 1}})
	if r.Entries[0].Token != nil {
		t.Error("a file that HTCondor does not read was read")
	}
}

func TestConfiguredExcludeReplacesTheDefault(t *testing.T) {
	exclude, err := ParseExclude(`^(.*\.off)$`)
	must(t, err)
	reader := self()
	reader.Exclude = exclude
	dir := directory(t, map[string]string{"a.off": good, ".b": good, "c~": good})
	wantVerdicts(t, dir, reader, ".b:1 sent\na.off name\nc~:1 shadowed by .b\n")
}

func TestExcludeThatCannotBeReplayed(t *testing.T) {
	_, err := ParseExclude(`^(?!a)`)
	if err == nil || !strings.Contains(err.Error(), "LOCAL_CONFIG_DIR_EXCLUDE_REGEXP") {
		t.Error(err)
	}
}

func TestMissingDirectoryIsTold(t *testing.T) {
	_, err := Read(filepath.Join(t.TempDir(), "tokens.d"), self(), now)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestLeftovers(t *testing.T) {
	dir := directory(t, map[string]string{
		".tokenagent.10-a.0123456789abcdef.tmp": "", ".tokenagent.10-b.0123456789abcdef.tmp": "", "x.bak": good, ".x.swp": "", ".keep": "",
	})
	for _, name := range []string{".tokenagent.10-b.0123456789abcdef.tmp", "x.bak"} {
		must(t, os.Chtimes(filepath.Join(dir, name), time.Time{}, now.Add(-time.Hour)))
	}
	must(t, os.Chtimes(filepath.Join(dir, ".tokenagent.10-a.0123456789abcdef.tmp"), time.Time{}, now))
	want := map[string]string{
		".tokenagent.10-a.0123456789abcdef.tmp": "is writing it",
		".tokenagent.10-b.0123456789abcdef.tmp": "was left by a tokenagent",
		".x.swp":                                "remove it if nobody needs it",
		"x.bak":                                 "HTCondor reads it like any other",
		".keep":                                 "",
	}
	for _, e := range mustRead(t, dir, self()).Entries {
		got := strings.Join(e.Remarks, "; ")
		if !strings.Contains(got, want[e.Name]) || want[e.Name] == "" && got != "" {
			t.Errorf("%s: %q", e.Name, got)
		}
	}
}

// TestVectors holds tokens that HTCondor's own condor_token_create has made.
func TestVectors(t *testing.T) {
	data, err := os.ReadFile("testdata/idtoken.json")
	must(t, err)
	var vectors struct {
		Tokens []struct{ Kid, Header, Payload, Signature string }
	}
	must(t, json.Unmarshal(data, &vectors))
	if len(vectors.Tokens) == 0 {
		t.Fatal("there are no tokens in testdata/idtoken.json")
	}
	for _, v := range vectors.Tokens {
		encode := base64.RawURLEncoding.EncodeToString
		text := encode([]byte(v.Header)) + "." + encode([]byte(v.Payload)) + "." + v.Signature + "\n"
		dir := directory(t, map[string]string{"a": text})
		for at, want := range map[int64]State{1800000000: Valid, 1800000300: Valid, 1800000599: Valid, 1800000600: Expired} {
			r, err := Read(dir, self(), time.Unix(at, 0))
			must(t, err)
			e := r.Entries[0]
			if e.Verdict != Sent || e.Token.State != want || e.Token.KeyID != v.Kid || e.Token.Subject != "alice@example.org" || len(e.Token.Remarks) > 0 {
				t.Errorf("at %d: %+v %+v", at, e, e.Token)
			}
		}
	}
}

func TestNothingShowsAToken(t *testing.T) {
	files := map[string]string{}
	for name, c := range rules {
		for file, content := range c.files {
			files[strings.ReplaceAll(name, " ", "")+file] = content
		}
	}
	for name, c := range reasons {
		files[name] = c.content
	}
	for name, c := range lenient {
		files["lenient "+name] = c.token
	}
	r := mustRead(t, directory(t, files), self())
	data, err := json.Marshal([]any{r, r.Findings(), r.Winners()})
	must(t, err)
	if strings.Contains(string(data), signature[:12]) {
		t.Error("a signature is shown")
	}
}

func FuzzNames(f *testing.F) {
	f.Add("a", "SCHEDD_auto_generated_token")
	f.Add("token10", "token9")
	f.Add(".x", "_auto_generated_token")
	f.Fuzz(func(t *testing.T, a, b string) {
		if Compare(a, b) != -Compare(b, a) || (Compare(a, b) == 0) != (a == b) {
			t.Errorf("%q and %q have no order", a, b)
		}
		if strings.HasPrefix(a, ".") && !strings.Contains(a, "\n") && !(Exclude{}).Excludes(a) {
			t.Errorf("%q is read", a)
		}
	})
}

func BenchmarkTenThousandFiles(b *testing.B) {
	files := map[string]string{}
	for i := range 10000 {
		files[fmt.Sprintf("%05d", i)] = claimSet{kid: fmt.Sprint(i % 1000)}.String()
	}
	dir := directory(b, files)
	b.ReportAllocs()
	for b.Loop() {
		r, err := Read(dir, self(), now)
		if err != nil || len(r.Entries) != len(files) {
			b.Fatal(err, len(r.Entries))
		}
		r.Findings()
	}
}
