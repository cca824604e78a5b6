package profile

import (
	"encoding/base64"
	"strings"
	"testing"
)

func TestFormOfATokenTellsAWholeOneFromACutOne(t *testing.T) {
	signedBy := func(algorithm string, bytes int) string {
		return encode(`{"alg":"`+algorithm+`"}`) + "." + encode(`{}`) + "." + base64.RawURLEncoding.EncodeToString(make([]byte, bytes))
	}
	for algorithm, lengths := range map[string][]int{
		"HS256": {32}, "HS384": {48}, "HS512": {64}, "ES256": {64}, "ES384": {96}, "ES512": {132}, "EdDSA": {64},
		"RS256": {128, 256, 384, 512}, "PS512": {256},
	} {
		for _, n := range lengths {
			whole := signedBy(algorithm, n)
			if got := Form(whole); got != 2 {
				t.Errorf("%s of %d bytes: form %d", algorithm, n, got)
			}
			for cut := 1; cut <= 40; cut++ {
				if got := Form(whole[:len(whole)-cut]); got == 2 {
					t.Errorf("%s of %d bytes without the last %d characters is taken for whole", algorithm, n, cut)
				}
			}
		}
	}
	for text, want := range map[string]int{
		"":                                      0,
		"junkjunk":                              0,
		"ya29.c.d":                              0,
		"eyJh.b.c.d.e":                          0,
		signedBy("none", 0):                     2,
		signedBy("none", 5):                     1,
		signedBy("XX99", 64):                    1,
		signedBy("ES256", 71):                   1,
		strings.Repeat("a", 20000):              0,
		encode(`{}`) + "." + encode(`{}`) + ".": 2,
	} {
		if got := Form(text); got != want {
			t.Errorf("%.40q: form %d, want %d", text, got, want)
		}
	}
}
