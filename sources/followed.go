package sources

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/agent/profile"
)

// mostFollowed is how many bytes are read of a file that something else keeps.
const mostFollowed = 64 << 10

// readFollowed returns what is in a file that something else keeps: a regular
// one, reached over symlinks too, as the tokens of a pod are, by the rule of
// host.Open. It never waits, not even at a FIFO. Its errors begin with the path and
// are Faults: transient where a new file in its place may put it right.
func readFollowed(path string) (data []byte, info fs.FileInfo, err error) {
	data, info, err = readSettled(path)
	if err == nil {
		return data, info, nil
	}
	_, irregular := errors.AsType[*host.Irregular](err)
	_, refused := errors.AsType[*host.Refusal](err)
	err = fmt.Errorf("%s: %w", path, err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, transientFault(fmt.Errorf("%w; it is read as soon as something writes it", err))
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0:
		return nil, nil, configurationFault(fmt.Errorf("%w; the user who runs tokenagent needs the permission to read it", err))
	case errors.Is(err, fs.ErrPermission), irregular, refused:
		return nil, nil, configurationFault(err)
	}
	return nil, nil, transientFault(err)
}

// How long a file that has just changed is read again, until it stays the same: its
// writer may be about to write the rest.
const (
	settleTime  = 500 * time.Millisecond
	settlePause = 100 * time.Millisecond
)

func readSettled(path string) (data []byte, info fs.FileInfo, err error) {
	for n := settleTime / settlePause; ; n-- {
		was := data
		data, info, err = host.ReadFile(path, mostFollowed)
		if err != nil || n == 0 || was != nil && bytes.Equal(data, was) || time.Since(info.ModTime()).Abs() > settleTime {
			return data, info, err
		}
		time.Sleep(settlePause)
	}
}

func transientFault(err error) error {
	return &agent.Fault{Kind: agent.Transient, Err: err}
}

// inspectFollowed warns of a file that everybody can read or write, and of one that
// root is not to read as it lies there. The user who keeps it decides that, but a
// token is a secret.
func inspectFollowed(b *config.Block, attr, path string) {
	if b.DefinitionsOnly() {
		return
	}
	var open bool
	var closing string
	var unread error
	answered := b.Look(filepath.Dir(path), func() {
		f, err := host.Open(path)
		if err != nil {
			unread = err
			return
		}
		defer f.Close()
		open = f.OpenToAll(path)
		closing = f.Closing(path, host.Advice{
			Command: "chmod o= " + host.ShellWord(path),
			InPod:   "defaultMode: 0440 of its volume, and fsGroup",
			InUnit:  "LoadCredential= makes it readable for the unit alone",
		})
	})
	switch {
	case !answered:
		b.Warn(attr, "the file's folder does not answer", "the file is tried when a token is due; is the server behind it gone?")
	case open:
		b.Warn(attr, "others can get at the token", fmt.Sprintf("everybody can read or write %s; who keeps it should change that: %s", path, closing))
	case unread != nil && !errors.Is(unread, fs.ErrNotExist) && os.Geteuid() == 0: // others may check what root is to run
		b.Warn(attr, "the file cannot be read as it lies there", unread.Error())
	}
}

// The prefix of a token as the file sink's format "env" writes it.
const envPrefix = "BEARER_TOKEN="

// tokenIn finds the token in a file that something else keeps: the first line
// that is neither blank nor a comment (#), with or without BEARER_TOKEN= before
// it, or the access_token of a JSON object, as HTCondor's credmons write it. So it
// reads all formats of the file sink. No error quotes the file.
func (w taking) tokenIn(data []byte) (agent.Secret, error) {
	text := strings.TrimSpace(string(data))
	switch {
	case text == "":
		return agent.Secret{}, errors.New("it is empty")
	case slices.ContainsFunc([]string{"\ufeff", "\xff\xfe", "\xfe\xff"}, func(mark string) bool { return strings.HasPrefix(text, mark) }):
		return agent.Secret{}, errors.New("it begins with a byte order mark, as programs on Windows write; it must be in UTF-8 without one")
	case bytes.IndexByte(data, 0) >= 0:
		return agent.Secret{}, errors.New("there is a NUL byte in it, as in files that a crash leaves behind")
	case text[0] == '{':
		return w.tokenInJSON(text)
	}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			return w.oneToken(unquoted(line))
		}
	}
	return agent.Secret{}, errors.New("there are only comments in it")
}

// unquoted is the token of a line that may be one of the file sink's format "env", which
// puts a token in quotes that a shell would not read as it is.
func unquoted(line string) string {
	value, env := strings.CutPrefix(line, envPrefix)
	if inner := strings.Trim(value, "'"); env && value == "'"+inner+"'" {
		return inner
	}
	return value
}

func (w taking) tokenInJSON(text string) (agent.Secret, error) {
	v, err := profile.DecodeValue([]byte(text))
	if err != nil {
		return agent.Secret{}, err
	}
	token, ok := v.(map[string]any)["access_token"].(string)
	if !ok {
		return agent.Secret{}, errors.New("the JSON object in it has no text under access_token")
	}
	if agent.CheckBare(token) != nil && agent.CheckText(token) == nil {
		return agent.NewSecret(token), nil // whoever wrote the JSON has said that it is a token
	}
	return w.oneToken(token)
}

// oneToken is the text as a Secret if a token may have it. Unless token_format says that
// it is opaque, it must not look like something else, or like a JWT that was cut off
// while it was written.
func (w taking) oneToken(text string) (agent.Secret, error) {
	if text == "" || text == "null" {
		return agent.Secret{}, errors.New("there is no token")
	}
	if w.opaque() {
		return agent.NewSecret(text), agent.CheckText(text)
	}
	if err := agent.CheckBare(text); err != nil {
		return agent.Secret{}, err
	}
	if dots := strings.Count(text, "."); strings.HasPrefix(text, "eyJ") && dots != 2 && dots != 4 { // neither JWS nor JWE
		return agent.Secret{}, errors.New("it begins like a JWT, but a part is missing")
	}
	return agent.NewSecret(text), nil
}
