package keys

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// A vector is a key whose derivation the real condor_token_create has shown.
type vector struct {
	FileHex string `json:"file_hex"`
	Kid     string
	Derived string
}

func (v vector) content(t testing.TB) []byte {
	t.Helper()
	data, err := hex.DecodeString(v.FileHex)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func vectors(t testing.TB) []vector {
	t.Helper()
	var set struct{ Keys []vector }
	if err := json.Unmarshal([]byte(testdata(t, "idtoken.json")), &set); err != nil {
		t.Fatal(err)
	}
	if len(set.Keys) < 9 {
		t.Fatalf("%d vectors are there", len(set.Keys))
	}
	return set.Keys
}

func TestDerivedKeysAreThoseOfHTCondor(t *testing.T) {
	for _, v := range vectors(t) {
		k, err := DeriveCondor(v.content(t), v.Kid)
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(k.Signing()); got != v.Derived || k.ID() != v.Kid {
			t.Errorf("%s under %s: got %s under %s, want %s", v.FileHex, v.Kid, got, k.ID(), v.Derived)
		}
		if got := hex.EncodeToString(deriveByHand(v.content(t), v.Kid)); got != v.Derived {
			t.Errorf("%s under %s: by hand it is %s, want %s", v.FileHex, v.Kid, got, v.Derived)
		}
	}
}

// deriveByHand is the derivation once more, by RFC 5869 section 2 on HMAC alone.
func deriveByHand(content []byte, kid string) []byte {
	var seed []byte
	for i, b := range content {
		seed = append(seed, b^"\xde\xad\xbe\xef"[i&3])
	}
	if kid == "POOL" {
		seed = bytes.Repeat(seed, 2)
	}
	extract := hmac.New(sha256.New, []byte("htcondor"))
	extract.Write(seed)
	expand := hmac.New(sha256.New, extract.Sum(nil))
	expand.Write([]byte("master jwt\x01")) // T(1), which is as long as what is wanted
	return expand.Sum(nil)
}

func TestAKeyKnowsTheTokensThatHTCondorSignedWithIt(t *testing.T) {
	var set struct {
		Tokens []struct {
			vector
			Header, Payload, Signature string
		}
	}
	if err := json.Unmarshal([]byte(testdata(t, "idtoken.json")), &set); err != nil || len(set.Tokens) == 0 {
		t.Fatalf("%d tokens are there, %v", len(set.Tokens), err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	for _, v := range set.Tokens {
		k, err := DeriveCondor(v.content(t), v.Kid)
		if err != nil {
			t.Fatal(err)
		}
		signed := encode([]byte(v.Header)) + "." + encode([]byte(v.Payload))
		if !k.Signed(signed + "." + v.Signature) {
			t.Errorf("%s: the token is not known", v.Kid)
		}
		other, err := DeriveCondor([]byte("another"), v.Kid)
		if err != nil {
			t.Fatal(err)
		}
		if other.Signed(signed+"."+v.Signature) || (CondorKey{}).Signed(signed+"."+v.Signature) {
			t.Errorf("%s: another key takes the token for its own", v.Kid)
		}
		for _, wrong := range []string{"", signed, signed + ".", signed + "." + v.Signature + "\n", signed + "x." + v.Signature} {
			if k.Signed(wrong) {
				t.Errorf("%s: %q is taken for a token", v.Kid, wrong)
			}
		}
	}
}

func TestNoKeyHasSignedNothing(t *testing.T) {
	mac := hmac.New(sha256.New, nil)
	mac.Write([]byte("e30.e30"))
	if (CondorKey{}).Signed("e30.e30." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))) {
		t.Error("the zero key takes a token for its own that is signed with nothing")
	}
}

func TestEveryByteOfTheFileIsKey(t *testing.T) {
	seen := map[string]string{}
	for _, content := range []string{"hello", "hello\n", "hello\r\n", " hello", "hello\x00", "hello\x00x", "Hello"} {
		for _, kid := range []string{"POOL", "k1"} {
			k, err := ReadCondor(write(t, content, 0o600), kid)
			if err != nil {
				t.Fatal(err)
			}
			name, got := fmt.Sprintf("%q under %s", content, kid), string(k.Signing())
			if other := seen[got]; other != "" {
				t.Errorf("%s and %s give the same key", name, other)
			}
			if seen[got] = name; got != string(deriveByHand([]byte(content), kid)) {
				t.Errorf("%s: by hand it is another key", name)
			}
		}
	}
}

func TestOnlyPOOLIsDoubled(t *testing.T) {
	for _, kid := range []string{"pool", "POOL2", "k1"} {
		a, errA := DeriveCondor([]byte("hello"), kid)
		b, errB := DeriveCondor([]byte("hello"), "k1")
		if errA != nil || errB != nil || !bytes.Equal(a.Signing(), b.Signing()) {
			t.Errorf("%s is derived otherwise than k1: %v, %v", kid, errA, errB)
		}
	}
}

func TestANameThatCannotBeShownIsNone(t *testing.T) {
	for _, id := range []string{"POOL\n", "a\x00", "\x1b[31m", strings.Repeat("x", 256)} {
		if k, err := DeriveCondor([]byte("hello"), id); err == nil || !k.IsZero() || strings.Contains(err.Error(), id) {
			t.Errorf("%q: got %v, %v", id, k, err)
		}
	}
}

func TestReadCondorNamesTheFileAndTheRemedy(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "POOL")
	const open = "gives permissions to others than its owner, and HTCondor wants none; chmod 0600 PATH"
	cases := map[string]struct{ path, want string }{
		"as HTCondor has it": {write(t, "hello", 0o600), ""},
		"not to be changed":  {write(t, "hello", 0o400), ""},
		"group reads":        {write(t, "hello", 0o640), "key PATH: its mode 0640 " + open},
		"group executes":     {write(t, "hello", 0o610), "key PATH: its mode 0610 " + open},
		"others read":        {write(t, "hello", 0o604), "key PATH: its mode 0604 " + open},
		"missing":            {missing, "key PATH: no such file or directory"},
		"empty":              {write(t, "", 0o600), "key PATH: it is empty, so that anybody could sign as the pool; copy the pool's key to it"},
		"directory":          {t.TempDir(), "key PATH: it is a directory, not a regular file"},
		"too large":          {write(t, strings.Repeat("x", MaxFile+1), 0o600), "key PATH: it is larger than 65536 bytes"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := ReadCondor(c.path, "POOL")
			want := strings.ReplaceAll(c.want, "PATH", c.path)
			if got := text(err); want == "" && got != "" || !strings.HasPrefix(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	if _, err := ReadCondor(missing, "POOL"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not fs.ErrNotExist", err)
	}
}

func TestACondorKeyIsItsOwnersAlone(t *testing.T) {
	for _, c := range []struct {
		uid  int
		mode fs.FileMode
		want string
	}{
		{500, 0o600, ""},
		{500, 0o440, "its mode 0440 gives permissions to others than its owner"}, // also in an own group
		{500, 0o601, "its mode 0601 gives permissions to others than its owner"},
		{501, 0o644, "its owner is uid 501; it must be root or the owner of its folder (uid 500): chown 500 PATH"},
	} {
		path := ownedBy(t, c.uid, 500, c.mode)
		_, err := ReadCondor(path, PoolKey)
		if got, want := text(err), strings.ReplaceAll(c.want, "PATH", path); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("user %d, mode %04o: got %q, want %q", c.uid, c.mode, got, want)
		}
	}
}

func TestNothingPrintsACondorKey(t *testing.T) {
	type holder struct{ key CondorKey }
	k, err := DeriveCondor([]byte("hello"), "POOL")
	if err != nil {
		t.Fatal(err)
	}
	var shown strings.Builder
	for _, v := range []any{k, &k, holder{k}, &holder{k}, []CondorKey{k}, map[string]CondorKey{"k": k}, struct{ K CondorKey }{k}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&shown, verb+"\n", v)
		}
		data, _ := json.Marshal(v)
		shown.Write(data)
	}
	secret := k.Signing()[:6]
	for _, form := range []string{
		string(secret), hex.EncodeToString(secret), base64.RawStdEncoding.EncodeToString(secret),
		strings.Trim(fmt.Sprint(secret), "[]"), strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", secret), "[]byte{"), "}"),
	} {
		if strings.Contains(strings.ToLower(shown.String()), strings.ToLower(form)) {
			t.Errorf("the key is shown: %s", shown.String())
		}
	}
	if got := fmt.Sprintf("%+v, %v", k, CondorKey{}); got != "HS256 key POOL, no key" {
		t.Errorf("got %s", got)
	}
	if signing := (CondorKey{}).Signing(); signing != nil {
		t.Errorf("no key signs with %x", signing)
	}
}

// FuzzDeriveCondor holds that any file but an empty one is a key under any name
// that can be shown, and the one that is derived by hand.
func FuzzDeriveCondor(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.content(f), v.Kid)
	}
	f.Add([]byte{}, "POOL")
	f.Add([]byte{0xde, 0xad, 0xbe, 0xef}, "")
	f.Fuzz(func(t *testing.T, content []byte, kid string) {
		before := bytes.Clone(content)
		k, err := DeriveCondor(content, kid)
		if (err != nil) != (len(content) == 0 || CheckID(kid) != nil) {
			t.Fatalf("%d bytes: %v", len(content), err)
		}
		if err == nil && !bytes.Equal(k.Signing(), deriveByHand(content, kid)) {
			t.Error("by hand it is another key")
		}
		if !bytes.Equal(content, before) {
			t.Error("what was read has been changed")
		}
	})
}
