package tokendir

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"hash"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// vectors are what one version of HTCondor did with many directories: which file
// its client sent, and whether the server accepted the token.
type vectors struct {
	Version     string            `json:"version"`
	TrustDomain string            `json:"trust_domain"`
	Keys        map[string][]byte `json:"keys"`
	Cases       []vector          `json:"cases"`
}

type vector struct {
	Name     string            `json:"name"`
	At       int64             `json:"at"`
	Reader   int               `json:"reader_uid"`
	Knobs    map[string]string `json:"knobs"`
	Tree     []node            `json:"tree"`
	Client   string            `json:"client"` // "answers" or "hangs"
	Sent     string            `json:"sent"`   // "" for none
	Accepted bool              `json:"accepted"`
	Identity string            `json:"identity"`
}

// A node is a file or folder of a vector's tree.
type node struct {
	Path    string `json:"path"`
	Bytes   []byte `json:"path_b64"` // the path where it is not UTF-8
	Type    string `json:"type"`
	Mode    string `json:"mode"`
	UID     int    `json:"uid"`
	GID     int    `json:"gid"`
	Target  string `json:"target"`
	Content []byte `json:"content_b64"`
	Size    int    `json:"size"` // of a large file, of which there are only both ends
	Head    []byte `json:"head_b64"`
	Tail    []byte `json:"tail_b64"`
}

func TestDirectoriesAsTwoVersionsOfHTCondorReadThem(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	for _, version := range []string{"23.9.6", "25.13.2"} {
		var all vectors
		data, err := os.ReadFile("testdata/condor-directories-" + version + ".json")
		must(t, err)
		must(t, json.Unmarshal(data, &all))
		if all.Version != version || len(all.Cases) != 140 {
			t.Fatalf("%d cases of version %s", len(all.Cases), all.Version)
		}
		for _, v := range all.Cases {
			t.Run(version+"/"+v.Name, func(t *testing.T) { all.agree(t, v) })
		}
	}
}

// agree holds what doctor says of the directory against what HTCondor did.
func (all vectors) agree(t *testing.T, v vector) {
	dir := v.build(t)
	reader := Reader{User: User{Name: "reader", UID: v.Reader}, Genuine: all.genuine}
	var err error
	reader.Version, err = ParseVersion(all.Version)
	must(t, err)
	if text, set := v.Knobs[ExcludeKnob]; set {
		reader.Exclude, err = ParseExclude(text)
		if err != nil {
			if !strings.Contains(err.Error(), "cannot replay") {
				t.Error(err)
			}
			return // which doctor says, and ends with 1: see doctor.txtar
		}
	}
	r, err := Read(dir, reader, time.Unix(v.At, 0))
	must(t, err)
	e, found := all.sentBy(r, "TOOL")
	got := vector{Client: "answers"}
	switch {
	case found && e.Token.State == Hangs, !found && all.hangs(r):
		got.Client = "hangs"
	case found:
		got.Sent, got.Accepted = strings.ToValidUTF8(e.Name, "\ufffd"), e.Token.State == Valid
		got.Identity, _, _ = strings.Cut(e.Token.Subject, "\x00")
	}
	if got.Client != v.Client || got.Sent != filepath.Base(v.Sent) && (got.Sent != "" || v.Sent != "") || got.Accepted != v.Accepted {
		t.Errorf("HTCondor: %s, sent %q, accepted %v; here: %s, sent %q, accepted %v\n%s", v.Client, v.Sent, v.Accepted, got.Client, got.Sent, got.Accepted, verdicts(r))
	}
	if v.Accepted && strings.ToValidUTF8(got.Identity, "\ufffd") != strings.ToValidUTF8(v.Identity, "\ufffd") {
		t.Errorf("identity %q, want %q", got.Identity, v.Identity)
	}
	if exitsOne := graveOf(r, e, found); exitsOne == v.Accepted {
		t.Errorf("a grave finding: %v, though accepted: %v", exitsOne, v.Accepted)
	}
}

// graveOf reports whether doctor warns that nothing works: of the token that is
// sent, or since none is.
func graveOf(r Reading, e Entry, found bool) bool {
	if !found {
		return true
	}
	for _, f := range r.Findings() {
		if f.Grave && f.Name == e.Name && f.Line == e.Line {
			return true
		}
	}
	return false
}

// sentBy is the token that a client of that subsystem sends to the pool.
func (all vectors) sentBy(r Reading, subsystem string) (first Entry, found bool) {
	for _, w := range r.Winners() {
		_, key := all.Keys[w.Token.KeyID]
		switch {
		case w.Token.Issuer != all.TrustDomain || !key:
		case w.Only == subsystem:
			return w.Entry, true
		case w.Only == "" && (!found || w.Name < first.Name):
			first, found = w.Entry, true
		}
	}
	return first, found
}

func (all vectors) hangs(r Reading) bool {
	for _, e := range r.Entries {
		if e.Verdict.hangs() {
			return true
		}
	}
	return false
}

// genuine holds the signature against the pool's key, as the server does.
func (all vectors) genuine(token, issuer, keyID string) (known, ok bool) {
	content, known := all.Keys[keyID]
	if !known || issuer != all.TrustDomain {
		return false, false
	}
	seed := bytes.Clone(content)
	for i := range seed {
		seed[i] ^= "\xde\xad\xbe\xef"[i%4]
	}
	if keyID == "POOL" {
		seed = append(seed, seed...)
	}
	key, err := hkdf.Key(sha256.New, seed, []byte("htcondor"), "master jwt", 32)
	if err != nil {
		return false, false
	}
	signed, signature := token[:strings.LastIndexByte(token, '.')], token[strings.LastIndexByte(token, '.')+1:]
	decoded, _ := decodeLenient(token)
	sum, mac := map[string]func() hash.Hash{"HS256": sha256.New, "HS384": sha512.New384, "HS512": sha512.New}[text(decoded.Header["alg"])]
	if !mac {
		return true, signature == ""
	}
	h := hmac.New(sum, key)
	h.Write([]byte(signed))
	return true, signature == base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// build lays the tree of the vector below a folder that everybody may pass, and
// returns the token directory.
func (v vector) build(t *testing.T) string {
	t.Helper()
	root, err := os.MkdirTemp("", "vector")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(root) })
	must(t, os.Chmod(root, 0o755))
	for _, n := range v.Tree {
		n.build(t, root)
	}
	for _, n := range v.Tree {
		if n.Type == "directory" { // after what lies in it
			must(t, os.Chmod(filepath.Join(root, n.Path), os.FileMode(n.bits(t))))
		}
	}
	return filepath.Join(root, "d")
}

func (n node) bits(t *testing.T) uint32 {
	bits, err := strconv.ParseUint(n.Mode, 8, 32)
	must(t, err)
	return uint32(bits)
}

func (n node) build(t *testing.T, root string) {
	t.Helper()
	path := filepath.Join(root, n.Path)
	if n.Bytes != nil {
		path = root + "/" + string(n.Bytes)
	}
	switch n.Type {
	case "directory":
		must(t, os.Mkdir(path, 0o700))
	case "symlink":
		must(t, os.Symlink(n.Target, path))
		return
	case "fifo":
		must(t, unix.Mkfifo(path, 0o600))
	case "socket":
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		must(t, err)
		must(t, errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Close(fd)))
	case "file":
		must(t, os.WriteFile(path, n.content(), 0o600))
	default:
		t.Fatalf("%s: a node of type %q", n.Path, n.Type)
	}
	must(t, os.Chown(path, n.UID, n.GID))
	if n.Type != "directory" {
		must(t, unix.Chmod(path, n.bits(t)))
	}
}

// content is that of the file. A large one repeats in its middle the last four
// bytes of its beginning.
func (n node) content() []byte {
	if n.Size == 0 {
		return n.Content
	}
	text := bytes.Clone(n.Head)
	for i := len(text); i < n.Size-len(n.Tail); i++ {
		text = append(text, text[i-4])
	}
	return append(text, n.Tail...)
}
