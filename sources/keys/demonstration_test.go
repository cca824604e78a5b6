package keys

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Keys as they are printed publicly. They protect nothing.
var printed = map[string]string{
	"cc-backend": "JWT_PUBLIC_KEY=\"kzfYrYy+TzpanWZHJ5qSdMj5uKUWgq74BWhQG6copP0=\"\n" +
		"JWT_PRIVATE_KEY=\"dtPC/6dWJFKZK7KZ78CvWuynylOmjBFyMsUWArwmodOTN9itjL5POlqdZkcnmpJ0yPm4pRaCrvgFaFAbpyik/Q==\"\n",
	"token operator": "-----BEGIN EC PRIVATE KEY-----\n" +
		"MHcCAQEEIIphQalRpd3lclrnNmbR8df1/iljebEgI/CLxsmfd4GYoAoGCCqGSM49\n" +
		"AwEHoUQDQgAEdN/1YF8Q1BGJdmL9zWDMi5D+2Nfc6iAAXXFvA88HPElN+eOxHy0m\n" +
		"D1ygqiC82+ZMBTqt9l5dn6JFpd2AawPi7A==\n-----END EC PRIVATE KEY-----\n",
	"RFC 8037": rfc8037,
	"RFC 7515": rfc7515,
}

func TestADemonstrationKeySignsNothing(t *testing.T) {
	for name, text := range printed {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			for what, read := range map[string]func() error{
				"Read":    func() error { _, err := Read(path, ""); return err },
				"ReadAll": func() error { _, err := ReadAll(path); return err },
			} {
				if err := read(); err == nil || !strings.HasPrefix(err.Error(), "key "+path+": ") || !strings.Contains(err.Error(), "demonstration key") || !strings.Contains(err.Error(), "key create") {
					t.Errorf("%s: %v", what, err)
				}
			}
			k := mustParse(t, text) // in another form it is the same key
			jwk, err := k.WithID("mine").PublicJWK()
			if err != nil {
				t.Fatal(err)
			}
			var member any
			if err := json.Unmarshal(jwk, &member); err != nil {
				t.Fatal(err)
			}
			public, err := ReadPublicJWK(member)
			if err != nil || !strings.Contains(strings.Join(public.Odd, ""), "everybody") {
				t.Errorf("a published one is not warned of: %v, %v", public.Odd, err)
			}
		})
	}
}

func TestAKeyOfOnesOwnIsNoDemonstration(t *testing.T) {
	for _, algorithm := range Algorithms() {
		if where := Demonstration(generated(t, algorithm).Public()); where != "" {
			t.Errorf("%s: %s", algorithm, where)
		}
	}
}
