package issuer

import (
	"encoding/base64"
	"slices"
	"strings"
)

// leastSecret is how many characters a secret must have for a text that has it within
// to be no accident.
const leastSecret = 8

// echoed reports whether a token response repeats a secret of the client, or the
// refresh token that was used, in anything but a new refresh token: in the token
// itself, also within a JWT, or in what errors and logs show.
func (d demand) echoed(object map[string]any) bool {
	secrets := slices.Concat(d.proof.secrets(), d.grant.Parameters["refresh_token"])
	secrets = slices.DeleteFunc(secrets, func(s string) bool { return len(s) < leastSecret })
	for name, value := range object {
		if name != "refresh_token" && holdsAny(value, secrets) {
			return true
		}
	}
	return false
}

func holdsAny(value any, secrets []string) bool {
	switch value := value.(type) {
	case string:
		return slices.ContainsFunc(secrets, func(s string) bool { return strings.Contains(value, s) || strings.Contains(insideJWT(value), s) })
	case []any:
		return slices.ContainsFunc(value, func(v any) bool { return holdsAny(v, secrets) })
	case map[string]any:
		for _, v := range value {
			if holdsAny(v, secrets) {
				return true
			}
		}
	}
	return false
}

// insideJWT is what a JWT says in its header and claims; "" for what is none.
func insideJWT(text string) string {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return ""
	}
	header, _ := base64.RawURLEncoding.DecodeString(parts[0])
	claims, _ := base64.RawURLEncoding.DecodeString(parts[1])
	return string(header) + " " + string(claims)
}
