package sinks

import (
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/host"
)

// A format is a way to write a token into a file, and to find it there again.
type format struct {
	render func(t agent.Token, now time.Time) ([]byte, error)
	parse  func(content string) (token string) // nil: nothing finds it
}

// formats are the formats by the names that a configuration gives them.
var formats = map[string]format{
	"token": {renderToken, parseToken},
	"raw":   {renderRaw, parseToken},
	"json":  {renderJSON, parseJSON},
	"env":   {renderEnv, parseEnv},
}

const envPrefix = "BEARER_TOKEN="

func renderToken(t agent.Token, _ time.Time) ([]byte, error) {
	return []byte(t.Secret.Reveal() + "\n"), nil
}

func renderRaw(t agent.Token, _ time.Time) ([]byte, error) {
	return []byte(t.Secret.Reveal()), nil
}

func parseToken(content string) string { return content }

// renderEnv puts a token in quotes only where a shell or systemd needs them: Docker takes
// quotes for a part of the token.
func renderEnv(t agent.Token, _ time.Time) ([]byte, error) {
	text := t.Secret.Reveal()
	if agent.CheckBare(text) != nil || strings.HasPrefix(text, "~") || strings.Contains(text, ":~") {
		text = host.ShellWord(text)
	}
	return []byte(envPrefix + text + "\n"), nil
}

func parseEnv(content string) string {
	token, ok := strings.CutPrefix(content, envPrefix)
	if inner := strings.Trim(token, "'"); ok && token == "'"+inner+"'" {
		return inner
	}
	if ok {
		return token
	}
	return ""
}

// A response has the members of an access token response (RFC 6749, section
// 5.1), as HTCondor's credmons write it too.
type response struct {
	AccessToken string `json:"access_token"`
	ExpiresIn   *int64 `json:"expires_in,omitempty"` // whole seconds from when it was written
	TokenType   string `json:"token_type"`
}

func renderJSON(t agent.Token, now time.Time) ([]byte, error) {
	r := response{AccessToken: t.Secret.Reveal(), TokenType: "Bearer"}
	if !t.Expires.IsZero() {
		seconds := max(0, int64(t.Expires.Sub(now)/time.Second))
		r.ExpiresIn = &seconds
	}
	content, err := json.Marshal(r)
	return append(content, '\n'), err
}

func parseJSON(content string) string {
	var r response
	if json.Unmarshal([]byte(content), &r) != nil {
		return ""
	}
	return r.AccessToken
}

// token finds the one token in content. The error shows nothing of it; that of a
// format that nothing is found in is agent.ErrNotReadBack.
func (f format) token(content []byte) (string, error) {
	if f.parse == nil {
		return "", agent.ErrNotReadBack
	}
	text := f.parse(strings.TrimSpace(string(content)))
	if agent.CheckText(text) != nil {
		return "", errors.New("it holds no token in the format of its sink")
	}
	return text, nil
}
