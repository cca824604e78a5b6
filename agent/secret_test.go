package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
)

func TestSecretIsNeverShown(t *testing.T) {
	const text = "eyJhbGciOi"
	token := Token{Secret: NewSecret(text)}
	var shown bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
		fmt.Fprintf(&shown, verb+"\n", token)
		fmt.Fprintf(&shown, verb+"\n", &token)
		fmt.Fprintf(&shown, verb+"\n", token.Secret)
		fmt.Fprintf(&shown, verb+"\n", []any{token.Secret, map[string]Token{"a": token}})
	}
	encoded, err := json.Marshal(map[string]any{"t": token})
	if err != nil {
		t.Fatal(err)
	}
	shown.Write(encoded)
	log := logrus.New()
	log.Out = &shown
	log.WithField("token", token).WithError(fmt.Errorf("with %v", token)).Error(token)
	log.Formatter = &logrus.JSONFormatter{}
	log.WithField("token", token).Error(token.Secret)
	slog.New(slog.NewTextHandler(&shown, nil)).Error("x", "token", token)
	if strings.Contains(shown.String(), text) || strings.Contains(shown.String(), fmt.Sprintf("%x", text)) {
		t.Errorf("shown: %s", shown.String())
	}
	if got := fmt.Sprintf("%s %v %+v %x", token.Secret, token.Secret, token.Secret, token.Secret); got != "[secret] [secret] [secret] [secret]" {
		t.Errorf("it is shown as %s", got)
	}
	if token.Secret.Reveal() != text || (Secret{}).Reveal() != "" {
		t.Error("Reveal gives another text")
	}
}

func TestRenewerIsSelectedByNameBlockAndInstance(t *testing.T) {
	for _, c := range []struct {
		name, selector string
		want           bool
	}{
		{"pilot", "pilot", true},
		{"pilot", "pilots", false},
		{`pilot["ce1"]`, "pilot", true},
		{`pilot["ce1"]`, "pilot/ce1", true},
		{`pilot["ce1"]`, `pilot["ce1"]`, true},
		{`pilot["ce1"]`, "pilot/ce2", false},
		{`pilot["ce1"]`, "pil", false},
		{`pilot["a/b"]`, "pilot/a/b", true},
	} {
		if got := (Renewer{Name: c.name}).Selects(c.selector); got != c.want {
			t.Errorf("%s by %s: %v", c.name, c.selector, got)
		}
	}
}
