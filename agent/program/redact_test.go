package program

import (
	"slices"
	"strings"
	"testing"

	"github.com/tokenagent/tokenagent/agent"
)

// Two tokens of no worth: a JWT (ES256) and an opaque one.
const (
	jwt = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImsxIiwidHlwIjoiSldUIn0.eyJpc3MiOiJodHRwczovL2V4YW1wbGUub3JnIiwic3ViIjoicm9ib3QiLCJleHAiOjE4MDAwMDM2MDB9" +
		".q8dH2-Zt0yFJm3V_nYv5w1uKpLrXsB7cQeGiTaOhM4RkD6jUxNfSzWbEoPgCl9A2IvHy8JtKm3nQrLs5XwZuVg"
	opaque = "ya29.a0AfB_byC7x-4QkZ1pLm"
)

func TestSecretsAreCovered(t *testing.T) {
	for text, want := range map[string]string{
		jwt:                                "[secret]",
		"Bearer " + jwt:                    "Bearer [secret]",
		"token=" + jwt + ";":               "token=[secret];",
		`{"a":"` + jwt + `"}`:              `{"a":"[secret]"}`,
		jwt[:40]:                           "[secret]",
		jwt[len(jwt)-20:]:                  "[secret]",
		"eyJhbGciOi":                       "[secret]",
		"(" + opaque + ")":                 "([secret])",
		"AKIAIOSFODNN7EXAMPLE0":            "[secret]",
		"deadbeefdeadbeefdeadbeefdeadbeef": "[secret]",
		"qRstUvWxYzAbCd/EfGh+IjKlMnOp==":   "[secret]==",

		"Failed to request a session token: DAEMON:2:Server did not answer": "Failed to request a session token: DAEMON:2:Server did not answer",
		"token: DAEMON:2:q8dH2Zt0yFJm3VnYv5w1uKpLr":                         "token: [secret]",

		"https://x/?eyJhbGciOi&x": "https://x/?[secret]&x",

		"password=hunter2hunter2":                "password=[secret]",
		"Passwd: hunter2;":                       "Passwd: [secret];",
		`{"client_secret": "a,b!c", "token":""}`: `{"client_secret": "[secret]", "token":""}`,
		"MY_KEY = 'correcthorse'":                "MY_KEY = '[secret]'",

		// The name of the second secret is taken for a line of the first.
		jwt + "\npassword=hunter2abc":             "[secret]=[secret]",
		"token=" + jwt + "\npassword: hunter2\nx": "token=[secret]: [secret]\nx",

		// What is to be read stays.
		"key: /etc/tokenagent/keys/site.pem: too open":            "",
		"at /usr/lib/x86\nFailed to\nunderstand\nConfiguration":   "",
		"cannot open /etc/condor/tokens.d/10-collector":           "",
		"https://iam.example.org:8443/token: 503":                 "",
		"ce1.long-name-of-a-host.example.org":                     "",
		"/usr/lib/x86_64-linux-gnu/libcondor_utils_25_0_1.so.6":   "",
		"SEC_TOKEN_POOL_SIGNING_KEY_FILE is not defined":          "",
		"/opt/keyJobs/primaryKeyJson":                             "",
		"2026-11-01T10:20:30Z java.io.FileNotFoundException":      "",
		"1800000300.123456789 user@example.org":                   "",
		"/var/lib/gwms-frontend/tokens.d/ce1.example.org.idtoken": "",
	} {
		if want == "" {
			want = text
		}
		if got := redact(text, false); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}

func TestTokensThatProgramsPrintAreCovered(t *testing.T) {
	for what, script := range map[string]string{
		"on stdout":            `echo "$1"; exit 1`,
		"on stderr":            `echo "got $1" >&2; exit 1`,
		"in two writes":        `printf 'got %s' "${1%%.*}" >&2; sleep 0.05; printf '%s\n' ".${1#*.}" >&2; exit 1`,
		"between two streams":  `printf '%s' "${1%%.*}" >&2; echo other; printf '%s' ".${1#*.}" >&2; exit 1`,
		"on lines":             `echo "$1" | fold -w 64; exit 1`,
		"on short lines":       `echo "got $1 and no more" | fold -w 16; exit 1`,
		"on lines of Windows":  `echo "$1" | fold -w 16 | sed 's/$/\r/'; exit 1`,
		"with nonsense within": `printf '%s\000%s' "${1%%.*}" "${1#*.}"; exit 1`,
		"behind megabytes":     `yes | head -c 3000000; echo "$1"; exit 1`,
		"again and again":      `for i in 1 2 3 4 5 6 7 8 9; do printf '%s' "$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1"; done; exit 1`,
	} {
		t.Run(what, func(t *testing.T) {
			err := shell(script, jwt).Run(t.Context(), Input{})
			wantFault(t, err, agent.Transient, covered)
			wantNothingOf(t, jwt, err.Error())
		})
	}
}

// wantNothingOf fails where the text holds 16 characters of the secret in a row,
// were it on one line.
func wantNothingOf(t *testing.T, secret, text string) {
	t.Helper()
	text = strings.NewReplacer("\n", "", " / ", "").Replace(text)
	for i := range len(secret) - 16 {
		if strings.Contains(text, secret[i:i+16]) {
			t.Fatalf("%q shows %q", text, secret[i:i+16])
		}
	}
}

func TestTailsKeepTheLastBytes(t *testing.T) {
	text := strings.Repeat("0123456789", MaxOutput/4)
	for _, size := range []int{1, 7, 1000, MaxOutput - 1, MaxOutput, MaxOutput + 1, len(text)} {
		var tl tail
		for rest := text; rest != ""; {
			n := min(size, len(rest))
			if wrote, err := tl.Write([]byte(rest[:n])); wrote != n || err != nil {
				t.Fatalf("wrote %d, %v", wrote, err)
			}
			rest = rest[n:]
		}
		if string(tl.kept) != text[len(text)-MaxOutput:] || !tl.cut {
			t.Errorf("written by %d: kept %d bytes, cut %v", size, len(tl.kept), tl.cut)
		}
	}
	var exact tail
	if exact.Write([]byte(text[:MaxOutput])); exact.cut {
		t.Error("what fits is said to be cut")
	}
}

// folded is the secret on lines of that many characters, from 8 on.
func folded(secret string, width int) string {
	var lines []string
	for line := range slices.Chunk([]byte(secret), max(width, 8)) {
		lines = append(lines, string(line))
	}
	return strings.Join(lines, "\n")
}

// Whatever surrounds a token, however it is split, it is not shown.
func FuzzTokensAreNeverShown(f *testing.F) {
	f.Add("Bearer ", "\n", 10, 0)
	f.Add("/etc/", "/x", 0, 1)
	f.Add("\x1b[31m", "\x00", 90, MaxOutput-30)
	f.Add("", "", 0, MaxOutput)
	f.Add("", "", 0, MaxOutput-19) // the rest of a secret, too short to look like one
	f.Add("é", "\xff", 5, 100)
	f.Add("", "", 0, MaxOutput-21) // cut between the lines of one that is folded
	f.Add("token =\n", "\n\nend", 16, 3)
	f.Fuzz(func(t *testing.T, before, after string, split, pad int) {
		for _, secret := range []string{jwt, opaque} {
			split := min(max(split, 0), len(secret))
			var tl tail
			for _, part := range []string{before, secret[:split], secret[split:], after, "\n", folded(secret, split), "\n", strings.Repeat(" ", min(max(pad, 0), 2*MaxOutput))} {
				tl.Write([]byte(part))
			}
			wantNothingOf(t, secret, redact(printable(tl.kept), tl.cut))
			words := tl.words()
			wantNothingOf(t, secret, words)
			if strings.ContainsAny(words, "\n\r\t\x1b\x00\x7f") {
				t.Errorf("%q is no line", words)
			}
		}
	})
}
