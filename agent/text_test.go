package agent

import (
	"strings"
	"testing"
)

func TestTextOfAToken(t *testing.T) {
	for text, want := range map[string]string{
		"a":                             "",
		"eyJhbGciOiJFUzI1NiJ9.e30.c2ln": "",
		"AZaz09-._~+/==":                "",
		strings.Repeat("a", MaxText):    "",
		"":                              "it is empty",
		"None":                          "it is a word that programs print where they have no token",
		"null":                          "it is a word",
		"undefined":                     "it is a word",
		"nullable":                      "",
		strings.Repeat("a", MaxText+1):  "it has 16383 bytes; readers take at most 16382",
		"https://x.example/t?id=a%2F#b": "",
		"123|abc":                       "",
		"v4.local:a":                    "",
		"#a":                            "not a token",
		":a":                            "not a token",
		"<a>":                           "not a token",
		"a'b":                           "not a token",
		`a\b`:                           "not a token",
		"{a}":                           "not a token",
		"=":                             "not a token",
		"secret secret":                 "not a token",
		"secret\n":                      "not a token",
		"secret\x00":                    "not a token",
		"sécret":                        "not a token",
		`"secret"`:                      "not a token",
	} {
		err := CheckText(text)
		switch {
		case (err == nil) != (want == ""), err != nil && !strings.Contains(err.Error(), want):
			t.Errorf("%.30q: %v, want %q", text, err, want)
		case err != nil && strings.Contains(err.Error(), "cret"):
			t.Errorf("the error quotes the text: %v", err)
		}
	}
}

func TestABareTextIsATokenOnlyWithoutWhatOtherTextsHave(t *testing.T) {
	for text, want := range map[string]bool{
		"AZaz09-._~+/==":                 true,
		"ya29.c.b0Aaek":                  true,
		"https://x.example/oauth2/token": true,
		"":                               false,
		strings.Repeat("a", MaxText+1):   false,
		"KEY=value":                      false,
		"https://x.example/?code=5":      false,
		"one|two":                        false,
		"a[0]":                           false,
		"two words":                      false,
	} {
		if err := CheckBare(text); (err == nil) != want {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}
