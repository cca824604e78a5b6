package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io/fs"
	"maps"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
)

// What is searched for: the signature of each token, each private key, client
// secret, refresh token, subject token, assertion and device code that a test had,
// in any encoding that a mistake might give it; and all that looks like a token or
// a private key. Where it is searched: watched_test.go tells.

// mayShow are the only places that may show a secret: the commands that are there
// to print it, as they begin, and on which stream.
var mayShow = map[string]string{
	"tokenagent token create ": "stdout",
	"tokenagent key create - ": "stdout",
}

const (
	windowSize   = 16 // so many characters of a secret are a leak
	leastSecret  = 12 // shorter ones are words, such as "right"
	largestFile  = 1 << 20
	sampleEvery  = 200 * time.Millisecond
	shownOfALeak = 6
)

// known are the secrets that the tests have had so far.
var known = &secrets{all: map[string]string{}}

// secrets are texts that must never be shown, and what each is.
type secrets struct {
	mu  sync.Mutex
	all map[string]string
}

func (s *secrets) add(what, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(text) >= leastSecret {
		s.all[text] = what
	}
}

var (
	tokenShape = regexp.MustCompile(`eyJ[\w-]{8,}\.[\w-]{8,}\.([\w-]{16,})`)
	keyShape   = regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----`)
	jwkShape   = regexp.MustCompile(`"(?:d|p|q|k)" ?: ?"([\w-]{16,})"`)
)

// find adds the secrets that the text holds.
func (s *secrets) find(text string) {
	for _, m := range tokenShape.FindAllStringSubmatch(text, -1) {
		s.add("a token", m[1])
	}
	for _, m := range jwkShape.FindAllStringSubmatch(text, -1) {
		s.addBytes("a private key", m[1])
	}
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			s.addKey(block.Bytes)
		}
	}
}

// addKey adds the numbers that make a key private.
func (s *secrets) addKey(der []byte) {
	switch k := parsedKey(der).(type) {
	case *ecdsa.PrivateKey:
		if d, err := k.Bytes(); err == nil {
			s.addBytes("a private key", base64.RawURLEncoding.EncodeToString(d))
		}
	case *rsa.PrivateKey:
		for _, n := range append(k.Primes, k.D) {
			s.addBytes("a private key", base64.RawURLEncoding.EncodeToString(n.Bytes()))
		}
	case ed25519.PrivateKey:
		s.addBytes("a private key", base64.RawURLEncoding.EncodeToString(k.Seed()))
	}
}

// parsedKey is the key in the DER, whichever of the three forms that is; nil: none.
func parsedKey(der []byte) any {
	if k, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return k
	}
	if k, err := x509.ParseECPrivateKey(der); err == nil {
		return k
	}
	if k, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return k
	}
	return nil
}

// addBytes adds a secret of bytes, which the text encodes.
func (s *secrets) addBytes(what, encoded string) {
	raw, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return
	}
	s.add(what, encoded)
	s.add(what, string(raw))
	s.add(what, new(big.Int).SetBytes(raw).String()) // as %v prints it
}

// A needle is a part of a secret, as something may write it.
type needle struct{ what, form string }

// A haystack finds needles in texts, all in one pass.
type haystack struct {
	windows map[string]needle // by windowSize bytes
	short   map[string]needle // the others
}

// haystackFor returns one for the secrets that are known now.
func haystackFor(s *secrets) *haystack {
	for _, text := range issuertest.Secrets() {
		if s.find(text); !tokenShape.MatchString(text) {
			s.add("a secret of an issuer", text)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &haystack{map[string]needle{}, map[string]needle{}}
	for text, what := range s.all {
		for form, spelt := range forms(text) {
			if len(spelt) < windowSize {
				h.short[spelt] = needle{what, form}
				continue
			}
			h.windows[spelt[:windowSize]] = needle{what, form}
			if form == "plain" {
				h.windows[spelt[len(spelt)-windowSize:]] = needle{what, form}
			}
		}
	}
	return h
}

// forms are the secret, and its beginning in each encoding.
func forms(secret string) map[string]string {
	all := map[string]string{}
	head := []byte(secret[:min(len(secret), 24)])
	all["hex"] = hex.EncodeToString(head)
	all["HEX"] = strings.ToUpper(all["hex"])
	all["a query"] = url.QueryEscape(string(head))
	all["%q"] = strings.Trim(strconv.Quote(string(head)), `"`)
	all["%v of bytes"] = strings.Trim(fmt.Sprint(head), "[]")
	all["%#v of bytes"] = strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", head), "[]byte{"), "}")
	for name, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
		for before := range 3 { // what stands before it shifts it
			text := encoding.EncodeToString(append(make([]byte, before), head...))
			text = text[[]int{0, 2, 3}[before]:]
			all[name+strconv.Itoa(before)] = text[:len(text)-2] // whose end depends on what follows
		}
	}
	maps.DeleteFunc(all, func(_, text string) bool { return strings.HasPrefix(secret, text) })
	all["plain"] = secret
	return all
}

// find returns the first secret in the text, and where it begins.
func (h *haystack) find(text string) (n needle, at int) {
	for at := 0; at+windowSize <= len(text); at++ {
		if n, is := h.windows[text[at:at+windowSize]]; is {
			return n, at
		}
	}
	for spelt, n := range h.short {
		if at := strings.Index(text, spelt); at >= 0 {
			return n, at
		}
	}
	if m := tokenShape.FindStringSubmatchIndex(text); m != nil {
		return needle{"a token", "shape"}, m[2]
	}
	if m := keyShape.FindStringIndex(text); m != nil {
		return needle{"a private key", "shape"}, m[1]
	}
	if m := jwkShape.FindStringSubmatchIndex(text); m != nil {
		return needle{"a private key", "JWK"}, m[2]
	}
	return needle{}, -1
}

// leakIn describes the first secret in the text, as it is and with the escapes of
// JSON, Go and URLs undone; "" where there is none.
func (h *haystack) leakIn(text string) string {
	for _, t := range []string{text, unescaped(text)} {
		if n, at := h.find(t); at >= 0 {
			return fmt.Sprintf("%s (%s): …%s…", n.what, n.form, t[max(0, at-100):min(len(t), at+shownOfALeak)])
		}
	}
	return ""
}

// unescaped undoes all escapes, also those of escapes.
func unescaped(text string) string {
	for range 3 {
		plain := unescapedOnce(text)
		if plain == text {
			break
		}
		text = plain
	}
	return text
}

func unescapedOnce(text string) string {
	if !strings.ContainsAny(text, `\%`) {
		return text
	}
	var out strings.Builder
	for len(text) > 0 {
		at := strings.IndexAny(text, `\%`)
		if at < 0 {
			break
		}
		out.WriteString(text[:at])
		plain, length := escapeAt(text[at:])
		out.WriteString(plain)
		text = text[at+length:]
	}
	return out.String() + text
}

// escapeAt is what the escape stands for that the text begins with, and its length;
// where it is none, its first byte.
func escapeAt(text string) (plain string, length int) {
	digits := 0
	switch {
	case text[0] == '%':
		length, digits = 1, 2
	case len(text) > 1 && text[1] == 'u':
		length, digits = 2, 4
	case len(text) > 1 && text[1] == 'x':
		length, digits = 2, 2
	case len(text) > 1 && strings.Contains(`"/\`, text[1:2]):
		return text[1:2], 2
	}
	if digits > 0 && len(text) >= length+digits {
		if n, err := strconv.ParseUint(text[length:length+digits], 16, 16); err == nil && digits == 2 {
			return string([]byte{byte(n)}), length + digits
		} else if err == nil {
			return string(rune(n)), length + digits
		}
	}
	return text[:1], 1
}

// left is what else the tests leave to be searched, by where it was.
var left = struct {
	mu  sync.Mutex
	all map[string]string
}{all: map[string]string{}}

// watchText leaves what a program of the test has shown, which is not watched
// otherwise.
func watchText(where, text string) {
	left.mu.Lock()
	defer left.mu.Unlock()
	left.all[where] += text
}

// watchFolder learns the secrets in a folder of the test, and leaves what an agent
// keeps in its state folder, but for refresh tokens, and its log.
func watchFolder(test, folder string) {
	eachFile(folder, func(path, text string) {
		switch parts := strings.Split(strings.TrimPrefix(path, folder), "/"); {
		case slices.Contains(parts, "refresh"):
			findRefresh(text)
		case slices.Contains(parts, "state"), filepath.Base(path) == "log":
			watchText(path+" of "+test, text)
		default:
			known.find(text)
		}
	})
}

// learnFrom learns the secrets in a folder.
func learnFrom(folder string) {
	eachFile(folder, func(_, text string) { known.find(text) })
}

// eachFile reads the small files below the folder that are there.
func eachFile(folder string, read func(path, text string)) {
	_ = filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // an agent may remove it meanwhile
		}
		if info, err := d.Info(); err != nil || info.Size() > largestFile {
			return nil
		}
		if content, err := os.ReadFile(path); err == nil {
			read(path, string(content))
		}
		return nil
	})
}

// findRefresh learns the refresh token that a file of the state folder keeps.
func findRefresh(text string) {
	var kept struct {
		Text string `json:"refresh_token"`
	}
	if json.Unmarshal([]byte(text), &kept) == nil {
		known.add("a refresh token", kept.Text)
	}
}

// search returns each place where one of the secrets, or what looks like one, was
// shown so far.
func search(runs string, s *secrets) (found []string) {
	h := haystackFor(s)
	files, err := filepath.Glob(filepath.Join(runs, "*"))
	if err != nil {
		return []string{err.Error()}
	}
	for _, file := range files {
		run, err := readRecording(file)
		if err != nil {
			found = append(found, err.Error())
			continue
		}
		found = append(found, run.leaks(h)...)
	}
	left.mu.Lock()
	defer left.mu.Unlock()
	for _, where := range slices.Sorted(maps.Keys(left.all)) {
		if leak := h.leakIn(left.all[where]); leak != "" {
			found = append(found, where+": "+leak)
		}
	}
	return found
}

func (s recorded) leaks(h *haystack) (found []string) {
	command := s["argv"]
	for _, place := range slices.Sorted(maps.Keys(s)) {
		if place == "argv" || s.may(place) {
			continue
		}
		if leak := h.leakIn(s[place]); leak != "" {
			found = append(found, fmt.Sprintf("%s: %s: %s", command, place, leak))
		}
	}
	return found
}

// may reports whether the command is there to show secrets at the place.
func (s recorded) may(place string) bool {
	for command, stream := range mayShow {
		if place == stream && strings.HasPrefix(s["argv"], command) {
			return true
		}
	}
	return false
}

// watchProcesses looks at the arguments and the environment of all that a
// tokenagent starts, until stop.
func watchProcesses() (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		seen := map[string]bool{}
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for {
			seen = sampleProcesses(seen)
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	}()
	return func() { close(done); <-ended }
}

// sampleProcesses looks at the processes that were not seen before, and returns
// those that there are. One that has not executed its program yet has the
// arguments of its parent, and is looked at again.
func sampleProcesses(seen map[string]bool) map[string]bool {
	now := map[string]bool{}
	pids, _ := filepath.Glob("/proc/[0-9]*")
	for _, pid := range pids {
		arguments, err := os.ReadFile(pid + "/cmdline")
		if err != nil {
			continue
		}
		id := pid + " " + string(arguments)
		now[id] = true
		if !seen[id] && underAgent(pid) {
			environment, _ := os.ReadFile(pid + "/environ")
			where := "a program that an agent started, " + strings.ReplaceAll(string(arguments[:min(len(arguments), 60)]), "\x00", " ")
			watchText(where+": argv", string(arguments)+"\n")
			watchText(where+": environ", string(environment)+"\n")
		}
	}
	return now
}

// underAgent reports whether a tokenagent of these tests is an ancestor of the
// process of that folder of /proc.
func underAgent(proc string) bool {
	agents := 0
	for range 50 {
		stat, err := os.ReadFile(proc + "/stat")
		if err != nil {
			return false
		}
		_, rest, _ := strings.Cut(string(stat), "(")
		_, rest, _ = strings.Cut(rest, ") ")
		fields := strings.Fields(rest)
		if len(fields) < 2 || fields[1] == "0" || fields[1] == "1" {
			return false
		}
		proc = "/proc/" + fields[1]
		if fields[1] == strconv.Itoa(os.Getpid()) {
			return agents > 0
		}
		if parent, err := os.ReadFile(proc + "/comm"); err == nil && strings.TrimSpace(string(parent)) == "tokenagent" {
			agents++
		}
	}
	return false
}
