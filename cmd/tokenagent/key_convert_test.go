package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokenagent/tokenagent/sources/keys"
)

func TestAKeyStaysTheSameInEveryFormat(t *testing.T) {
	for algorithm, formats := range map[string][]string{
		"ES256": {"pem", "sec1", "jwk", "jwks"},
		"ES512": {"pem", "sec1", "jwk", "jwks"},
		"RS256": {"pem", "pkcs1", "jwk", "jwks"},
		"EdDSA": {"pem", "jwk", "jwks", "clustercockpit"},
	} {
		dir := t.TempDir()
		first := filepath.Join(dir, "first")
		id := strings.TrimSpace(succeed(t, "key", "create", "--algorithm", algorithm, first))
		for _, from := range formats {
			for _, to := range formats {
				a, b := filepath.Join(dir, from+to), filepath.Join(dir, from+to+"2")
				succeed(t, "key", "convert", "--to", from, first, a)
				succeed(t, "key", "convert", "--to", to, a, b)
				k, err := keys.Read(b, "")
				if err != nil || k.ID() != id {
					t.Errorf("%s, %s to %s: %v, %v", algorithm, from, to, k, err)
				}
				info, err := os.Stat(b)
				check(t, err)
				if info.Mode() != 0o600 {
					t.Errorf("its mode is %v", info.Mode())
				}
			}
		}
	}
}

func TestOpensslReadsConvertedKeys(t *testing.T) {
	requirePart(t, "openssl", "version")
	dir := t.TempDir()
	for _, c := range []struct{ algorithm, to string }{{"ES256", "pem"}, {"ES384", "sec1"}, {"RS256", "pkcs1"}, {"EdDSA", "pem"}} {
		jwk, out := filepath.Join(dir, c.algorithm+".jwk"), filepath.Join(dir, c.algorithm+".pem")
		succeed(t, "key", "create", "--format", "jwk", "--algorithm", c.algorithm, jwk)
		succeed(t, "key", "convert", "--to", c.to, jwk, out)
		theirs, err := exec.Command("openssl", "pkey", "-in", out, "-pubout").CombinedOutput()
		if ours := succeed(t, "key", "public", "--format", "pem", jwk); err != nil || string(theirs) != ours {
			t.Errorf("%s as %s: %v\n%swant\n%s", c.algorithm, c.to, err, theirs, ours)
		}
		back := filepath.Join(dir, c.algorithm+".back")
		if said, err := exec.Command("openssl", "pkey", "-in", out, "-out", back).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		check(t, os.Chmod(back, 0o600))
		again := filepath.Join(dir, c.algorithm+".again")
		succeed(t, "key", "convert", "--to", "jwk", back, again)
		if readFile(t, again) != readFile(t, jwk) {
			t.Errorf("%s: what openssl wrote is another key", c.algorithm)
		}
	}
}

func TestConversionsThatLoseOrCannot(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	succeed(t, "key", "create", path("ec"))
	succeed(t, "key", "convert", "--to", "jwk", "--key-id", "2026-11", path("ec"), path("named"))
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--to", "pem", path("named"), path("lost")}, 0, `key_id = "2026-11"`},
		{[]string{"--to", "pem", path("named"), path("ec")}, 1, "exists already"},
		{[]string{"--to", "pkcs1", path("ec"), "-"}, 2, "RSA keys alone"},
		{[]string{"--to", "clustercockpit", path("ec"), "-"}, 2, "Ed25519"},
		{[]string{"--to", "der", path("ec"), "-"}, 2, "write one of pem"},
		{[]string{path("ec"), "-"}, 2, "--to is missing: write one of pem"},
	} {
		var out, complaints strings.Builder
		code := runHere(append([]string{"key", "convert"}, c.args...), strings.NewReader(""), &out, &complaints)
		if code != c.code || !strings.Contains(complaints.String(), c.says) {
			t.Errorf("%v: exit %d: %s", c.args, code, complaints.String())
		}
	}
}
