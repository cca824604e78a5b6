package sources

import (
	"strings"
	"testing"

	"github.com/tokenagent/tokenagent/agent/config"
)

// issuerText is an issuer block with those lines in it, and a token that names it.
func issuerText(lines ...string) string {
	return "issuer \"ospool\" {\n  " + strings.Join(lines, "\n  ") + "\n}\n" + strings.ReplaceAll(pilotToken, "source.local_key.ospool", "issuer.ospool")
}

func TestFaultsOfAnIssuerBlock(t *testing.T) {
	const url, dir = `url = "https://ospool.example.org"`, `keys_dir = "DIR/keys"`
	for name, c := range map[string]struct {
		text string
		want string // "" for none
	}{
		"nothing is wrong":      {issuerText(url, dir, `web_root = "DIR/web"`, `rotate_after = "180d"`), ""},
		"by hand, state folder": {issuerText(url, dir), ""},
		"no url":                {issuerText(dir), "missing attribute url"},
		"no keys_dir":           {issuerText(url), "missing attribute keys_dir"},
		"http":                  {issuerText(`url = "http://ospool.example.org"`, dir), "not the address of an issuer"},
		"a query":               {issuerText(`url = "https://ospool.example.org/?x"`, dir), "not the address of an issuer"},
		"an unknown algorithm":  {issuerText(url, dir, `algorithm = "HS256"`), `unknown algorithm "HS256"`},
		"one that no verifier of the profile takes": {issuerText(url, dir, `algorithm = "EdDSA"`), "EdDSA"},
		"rotation as fast as caches":                {issuerText(url, dir, `rotate_after = "4d"`), "rotate_after is too short"},
		"no time to publish":                        {issuerText(url, dir, `publish_ahead = "10s"`), "publish_ahead is too short"},
		"little time to publish":                    {issuerText(url, dir, `publish_ahead = "1h"`), "some verifiers keep keys for longer"},
		"no duration":                               {issuerText(url, dir, `rotate_after = "half a year"`), "rotate_after"},
		"keys in the open":                          {issuerText(url, `keys_dir = "DIR/web/keys"`, `web_root = "DIR/web"`), "the private keys would be published"},
		"a closed document":                         {issuerText(url, dir, `mode = "0600"`), "a web server may not read the files"},
		"a relative path":                           {issuerText(url, dir, `also_publish = ["other.jwks"]`), "a path that is not absolute"},
		"an unknown user":                           {issuerText(url, dir, `owner = "nobody-of-that-name"`), "unknown user"},
		"an unknown group":                          {issuerText(url, dir, `group = "nobody-of-that-name"`), "unknown group"},
		"a misspelt attribute":                      {issuerText(url, dir, `rotate_afer = "180d"`), "did you mean rotate_after?"},
		"an unknown event":                          {issuerText(url, dir, `hook "on_change" { command = ["/bin/true"] }`), `unknown hook "on_change"`},
		"a hook without a program":                  {issuerText(url, dir, `hook "on_publish" { }`), "missing attribute command"},
		"for_each":                                  {issuerText(url, dir, `for_each = toset(["a"])`), "unknown attribute for_each"},
		"two labels":                                {strings.Replace(issuerText(url, dir), `issuer "ospool"`, `issuer "simple" "ospool"`, 1), `write issuer "NAME" { … }`},
		"twice":                                     {issuerText(url, dir) + "issuer \"ospool\" {\n" + url + "\nkeys_dir = \"DIR/other\"\n}\n", "issuer.ospool is defined twice"},
		"one folder for two":                        {issuerText(url, dir) + "issuer \"two\" {\n" + url + "\n" + dir + "\n}\n", "duplicate keys_dir"},
		"one site for two":                          {issuerText(url, dir, `web_root = "DIR/web"`) + "issuer \"two\" {\n" + url + "\nkeys_dir = \"DIR/two\"\nweb_root = \"DIR/web\"\n}\n", "duplicate web_root"},
		"a misspelt reference":                      {strings.Replace(issuerText(url, dir), "= issuer.ospool", "= issuer.ospol", 1), "did you mean issuer.ospool?"},
		"a reference in quotes":                     {strings.Replace(issuerText(url, dir), "= issuer.ospool", `= "issuer.ospool"`, 1), "written without quotes: issuer.ospool"},
		"a reference to nothing":                    {strings.Replace(issuerText(url, dir), "= issuer.ospool", "= issuer", 1), "issuer without a name"},
		"a reference to an attribute":               {strings.Replace(issuerText(url, dir), "= issuer.ospool", "= issuer.ospool.url", 1), "an issuer has no attributes"},
		"as a source":                               {strings.Replace(issuerText(url, dir), "= issuer.ospool", "= source.issuer.ospool", 1), "unknown source.issuer.ospool"},
		"a source of that kind":                     {strings.Replace(issuerText(url, dir), `issuer "ospool"`, `source "issuer" "ospool"`, 1), `an issuer is a block of its own: issuer "NAME" { … }`},
		"with a key":                                {strings.Replace(issuerText(url, dir), "= issuer.ospool", `= issuer["ospol"]`, 1), "did you mean issuer.ospool?"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, definitions := range []bool{true, false} {
				if definitions && (name == "an unknown user" || name == "an unknown group") {
					continue // nobody is looked up
				}
				_, faults := loadAs(t, config.Environment{Definitions: definitions, Checking: true}, nil, t.TempDir(), c.text)
				text := ""
				for _, f := range faults {
					if !strings.Contains(f.Error(), "no sink block") {
						text += f.Error() + "\n"
					}
				}
				if c.want == "" && text != "" || !strings.Contains(text, c.want) {
					t.Errorf("definitions %v: want %q, got\n%s", definitions, c.want, text)
				}
			}
		})
	}
}

// How keys are made and published makes no other tokens; another folder of keys does.
func TestWhatOfAnIssuerMakesOtherTokens(t *testing.T) {
	dir := t.TempDir()
	digest := func(lines ...string) string {
		t.Helper()
		c, faults := load(t, dir, issuerText(append([]string{`url = "https://ospool.example.org"`}, lines...)...), false)
		if faults.HasErrors() {
			t.Fatal(faults)
		}
		return c.Renewers[0].Digest
	}
	first := digest(`keys_dir = "DIR/keys"`)
	same := digest(`keys_dir = "DIR/keys"`, `rotate_after = "180d"`, `publish_ahead = "5d"`, `web_root = "DIR/web"`, `algorithm = "RS256"`, `hook "on_publish" { command = ["/bin/true"] }`)
	if other := digest(`keys_dir = "DIR/other"`); same != first || other == first {
		t.Errorf("first %s, same %s, other %s", first, same, other)
	}
}
