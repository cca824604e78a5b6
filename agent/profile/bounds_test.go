package profile

import (
	"strings"
	"testing"
)

func TestAValueMayLieAsDeepAsIsAllowed(t *testing.T) {
	deep := strings.Repeat("[", deepest-1) + "1" + strings.Repeat("]", deepest-1)
	if _, err := Decode(jwt(`{}`, `{"x":`+deep+`}`)); err != nil {
		t.Error(err)
	}
}

func TestTheFirstAndTheLastPrintableCharacterAreAllowed(t *testing.T) {
	for _, name := range Names() {
		problems := Check(name, Token{
			Header: map[string]any{"alg": "ES256", "kid": "k"},
			Claims: map[string]any{"sub": "~a b~@example.org", "scope": "storage.read:/~user storage.read:/!"},
		})
		for _, p := range problems {
			if strings.Contains(p.Text, "a character that is not allowed") {
				t.Errorf("%s: %s", name, p)
			}
		}
	}
}

func TestMeantIsOnlyWhatSharesHalfOfItsLetters(t *testing.T) {
	names := []string{"at", "wlcg", "path", "audience", "user"}
	for given, want := range map[string]string{
		"pth": "path", "wlgc": "wlcg", "audince": "audience", "audeince": "audience", "usr": "user", "ab": "at",
		"to": "", "zz": "", "issuer": "", "x": "", "": "", "peth": "path", "xxth": "path", "xyzh": "",
	} {
		if got := Meant(given, names); got != want {
			t.Errorf("%q: got %q, want %q", given, got, want)
		}
	}
}
