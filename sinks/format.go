package sinks

import (
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/agent"
)

// A format is a way to write a token into a file, and to find it there again.
type format struct {
	render func(t agent.Token, now time.Time) []byte
	parse  func(content string) (token string)
}

// formats are the formats by the names that a configuration gives them.
var formats = map[string]format{
	"token": {renderToken, parseToken},
	"json":  {renderJSON, parseJSON},
	"env":   {renderEnv, parseEnv},
}

const envPrefix = "BEARER_TOKEN="

func renderToken(t agent.Token, _ time.Time) []byte {
	return []byte(t.Secret.Reveal() + "\n")
}

func parseToken(content string) string { return content }

func renderEnv(t agent.Token, _ time.Time) []byte {
	return []byte(envPrefix + t.Secret.Reveal() + "\n")
}

func parseEnv(content string) string {
	token, ok := strings.CutPrefix(content, envPrefix)
	if !ok {
		return ""
	}
	return token
}

// A response has the members of an access token response (RFC 6749, section
// 5.1), as HTCondor's credmons write it too.
type response struct {
	AccessToken string `json:"access_token"`
	ExpiresIn   *int64 `json:"expires_in,omitempty"` // whole seconds from when it was written
	TokenType   string `json:"token_type"`
}

func renderJSON(t agent.Token, now time.Time) []byte {
	r := response{AccessToken: t.Secret.Reveal(), TokenType: "Bearer"}
	if !t.Expires.IsZero() {
		seconds := max(0, int64(t.Expires.Sub(now)/time.Second))
		r.ExpiresIn = &seconds
	}
	content, _ := json.Marshal(r) // strings and a number
	return append(content, '\n')
}

func parseJSON(content string) string {
	var r response
	if json.Unmarshal([]byte(content), &r) != nil {
		return ""
	}
	return r.AccessToken
}

// token finds the one token in content. The error shows nothing of it.
func (f format) token(content []byte) (string, error) {
	text := f.parse(strings.TrimSpace(string(content)))
	if agent.CheckText(text) != nil {
		return "", errors.New("it holds no token in the format of its sink")
	}
	return text, nil
}
